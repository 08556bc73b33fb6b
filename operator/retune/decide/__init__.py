"""Pure decisions: facts in, decisions out. No I/O, no clock (time is a fact), no kopf, no client."""
