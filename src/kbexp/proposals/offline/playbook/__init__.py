"""The playbook: what the offline provider knows of the bundled tasks, an `Entry` each."""

from __future__ import annotations

from kbexp.proposals.offline.playbook import columns, elements, products, rows
from kbexp.proposals.offline.playbook.entry import Entry

ENTRIES: dict[str, Entry] = {
    entry.task: entry
    for entry in (*rows.ENTRIES, *columns.ENTRIES, *elements.ENTRIES, *products.ENTRIES)
}
"""The entries by task, in the order in which they are looked at."""
