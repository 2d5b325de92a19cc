"""Workers are killed, paused and cut off from their storage; nothing may be lost."""
