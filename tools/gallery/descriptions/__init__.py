"""Descriptions of the shipped workflows. Every module here with `WORKFLOWS` ({file name: function}) is built."""
