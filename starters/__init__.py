"""What one begins with: phrasings of instructions, example pictures. Imports no other room."""
