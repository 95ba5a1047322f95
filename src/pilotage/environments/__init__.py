"""The same software on the other side: what the script is made of, where workers see no folder of this machine."""
