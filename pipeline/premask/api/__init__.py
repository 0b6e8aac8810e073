"""What `import premask` offers, beyond the parts of the package themselves."""
