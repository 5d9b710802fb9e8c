"""The bundled tasks, one file each; they are read as text and never imported from here."""
