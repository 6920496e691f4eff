"""Are the files right, and do they belong together? Measured with bundled pictures whose exact answers are known.

    files     which file in a folder is what, which are missing, their SHA-256
    cases     pictures, tasks, instructions: what is asked
    pairs     questions, the same with something exchanged, and the sign test
    measure   encodes everything once, asks the model
    weights   what the weights themselves tell
    verdict   from comparisons to the likely mistake, in words
    report    what was found
    run       all of it, for a MODEL, CLIP and VAE
    page      the report as text, HTML and one picture

`python -m ace_model.check --help` runs it without ComfyUI's server.
"""
