"""The command line: `app.py` lists the commands, each is a file of its name, loaded when it is called."""
