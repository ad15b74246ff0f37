"""The paper's networks and small ones for real digits, converted."""
