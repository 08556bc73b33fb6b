"""The report of a run, written when it has ended: gathered, built as `report.json`, shown as `report.html`."""
