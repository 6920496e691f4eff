"""What the shipped workflows are. Every module here that has `WORKFLOWS` ({file name: function}) is built."""
