"""From facts to findings: what keeps a run from learning, by cause, with evidence and advice."""
