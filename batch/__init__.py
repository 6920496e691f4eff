"""Many edits over many machines, on Ray Data: `python -m batch REQUESTS OUT`. docs/batch.md tells how.

    requests   JSONL, Parquet or a folder of pictures → checked, without doubles, each with an id, as Parquet
    ace        one worker's models: a record → its picture, as the graph makes it
    workflow   the same for any API workflow, by a ComfyUI of the worker's own
    worker     a block of requests → a block of answers; one that cannot be made becomes a row with the reason
    ledger     who works on what, and how far the run is
    sinks      Parquet, WebDataset shards, plain files
    cluster    Ray: started or joined, its machines looked at, its errors in words
    run        the plan and the checkpoint
    page       before and after

Importing this package imports neither Ray nor ComfyUI.
"""
