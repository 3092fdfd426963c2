"""Other libraries and formats; each import of another library happens where it is used."""
