"""The one room where Ray is spoken, one file per stage."""
