"""All prefixes of a conversation in one run of its chat template.

To prove a mask, a conversation is rendered up to each of its turns, with and without the generation prompt.
Each of these renders is a **version**: the first k messages, and whether the generation prompt is asked for.
The versions differ in the last of their messages only, so most of what the template does is the same for many
of them. Here the template is run once for all versions. Its code is cut at the loops over messages into
**units** (`units.py`): the code before such a loop, one turn of the loop, the code after it. A unit is run
once for each set of versions that it cannot tell apart. What depends on the version is a **facet**
(`facets.py`, `views.py`): asking it anything splits the set into the versions that answer alike.
`run.py` runs the units; `renders.py` answers as `Renders` does, from one run.

    template = PrefixTemplate(ChatTemplate(source))
    renders = PrefixRenders(conversation, template)
    renders.prompt(7)      # as `Renders` answers, without a render of its own

Whatever is not followed exactly is rendered the plain way, one version at a time; `template.reasons` counts
why.
"""
