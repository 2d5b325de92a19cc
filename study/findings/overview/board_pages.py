"""Note and figures on a study's page, as optuna-dashboard stores them.

It has functions for both. To import them is to import its server and scikit-learn: 1.5 seconds of
CPU time, a third of what a short run takes. The form is what old databases hold, so it stays; a
test compares what is written here with what the dashboard's own functions write and read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from plotly.graph_objects import Figure

NOTE, NOTE_VERSION = "dashboard:note_str:", "dashboard:note_ver"
FIGURE = "dashboard:plot_data:"
OURS = "batchfront_note"  # digest of the note that we wrote last: people edit it in the dashboard
LONGEST = 2045  # characters; an attribute in a table of Optuna's has no room for more


def stored_note(study: Study) -> str:
    """The note as it stands now, "" when there is none."""
    stored = study._storage.get_study_system_attrs(study._study_id)
    return "".join(stored[f"{NOTE}{n}"] for n in range(len(_parts_of(stored, NOTE))))


def save_note(study: Study, text: str) -> None:
    """The text becomes the study's note, and the version of the note rises."""
    stored = study._storage.get_study_system_attrs(study._study_id)
    version = stored.get(NOTE_VERSION, 0) + 1
    study._storage.set_study_system_attr(study._study_id, NOTE_VERSION, version)
    _save(study, NOTE, text)


def update_note(study: Study, before: str, text: str) -> None:
    """The text becomes the note, unless somebody has edited what stands there.

    `before`: a text that counts as ours, too: what older versions wrote.
    """
    stored = stored_note(study)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    if stored in ("", before) or _digest(stored) == attributes.get(OURS):
        study._storage.set_study_system_attr(study._study_id, OURS, _digest(text))
        save_note(study, text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def save_figure(study: Study, figure: Figure, *, name: str) -> None:
    """The figure takes the place of the one of that name, if there is one."""
    _save(study, f"{FIGURE}{name}:", str(figure.to_json()))


def _save(study: Study, prefix: str, text: str) -> None:
    """Attributes cannot be removed, so what an older and longer text leaves becomes empty."""
    storage, study_id = study._storage, study._study_id
    parts = [text[start : start + LONGEST] for start in range(0, len(text), LONGEST)]
    stored = storage.get_study_system_attrs(study_id)
    for number in range(max(len(parts), len(_parts_of(stored, prefix)))):
        part = parts[number] if number < len(parts) else ""
        if stored.get(f"{prefix}{number}") != part:
            storage.set_study_system_attr(study_id, f"{prefix}{number}", part)


def _parts_of(stored: dict[str, object], prefix: str) -> list[str]:
    return [key for key in stored if key.startswith(prefix)]
