"""A queue of trials in an Optuna study: every slot is done exactly once, whoever is killed on the way.

A slot is one trial to be done. It waits in the study as an enqueued trial; a worker claims it (the storage lets one
win), signs it, runs it and tells its result. When a worker is gone, any other marks the trial as lost and enqueues the
same parameters as the slot's next attempt, which knows where the run of the one before is. Each of these steps can be
cut off by a kill and is finished by the next worker that looks: what is to be done follows from what is in the storage
alone. Should two workers enqueue the same attempt at the same moment, the lower trial number counts and the other is
never run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recipes.config import UsageError

MOST_KILLS = 5  # a trial that took down its worker this often fails for good


@dataclass(frozen=True)
class Slot:
    """One trial to be done: what of its parameters is fixed, and notes that it carries."""

    params: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


class Queue:
    """Slots of one study.

    Args:
        study: an Optuna study.
        storage: its storage.
        slots: what is to be done, in order; the same for every worker.
        settings: what all workers must agree on; kept with the first slot.
    """

    def __init__(self, study: Any, storage: Any, slots: Sequence[Slot], settings: Mapping[str, Any]) -> None:
        self.study, self.storage, self.slots = study, storage, slots
        self._settings = dict(settings)

    def fill(self) -> None:
        """Enqueue the slots that are not there yet."""
        for i, slot in enumerate(self.slots):
            # looked up anew each time: another worker may be filling it too
            if i not in {trial.user_attrs.get("slot") for trial in self._all()}:
                self._enqueue(i, dict(slot.params), attempt=1, kills=0)

    def settings(self) -> dict[str, Any] | None:
        """Those of the worker that filled the queue first; None while it is empty."""
        trials = self._all()
        return dict(trials[0].user_attrs.get("settings", {})) if trials else None

    def now(self) -> list[Any]:
        """The trial that counts for each slot: the last attempt, and of two that are the same the first."""
        found: dict[int, Any] = {}
        for trial in self._all():  # by number
            slot, attempt = trial.user_attrs.get("slot"), trial.user_attrs.get("attempt", 1)
            if slot is not None and (slot not in found or attempt > found[slot].user_attrs["attempt"]):
                found[slot] = trial
        return [found[slot] for slot in sorted(found)]

    def waiting(self) -> list[Any]:
        return [trial for trial in self.now() if trial.state.name == "WAITING"]

    def open(self) -> bool:
        """Whether a slot waits, runs, or was lost and is to be enqueued again."""
        now = self.now()
        return len(now) < len(self.slots) or any(_lost(t) or not t.state.is_finished() for t in now)

    def claim(self, waiting: Any, worker: str) -> Any | None:
        """The Optuna trial of a waiting slot, now this worker's; None where another was faster."""
        import optuna

        try:
            if not self.storage.set_trial_state_values(waiting._trial_id, optuna.trial.TrialState.RUNNING):
                return None
        except (optuna.exceptions.UpdateFinishedTrialError, KeyError):
            return None
        trial = optuna.trial.Trial(self.study, waiting._trial_id)
        trial.set_user_attr("worker", worker)
        return trial

    def tell(self, number: int, state: str, values: Sequence[float] | None = None, why: str = "") -> bool:
        """End a trial as COMPLETE, PRUNED or FAIL; False where another worker had ended it before."""
        return self._end(number, state, values, {"why": why} if why else {})

    def lose(self, number: int, why: str, *, killed: bool) -> bool:
        """End a trial whose run is gone, and enqueue its slot again; False where another worker had ended it."""
        ended = self._end(number, "FAIL", None, {"why": why, "lost": True, "killed": killed})
        self.requeue()
        return ended

    def recover(
        self,
        gone: Callable[[str], bool],
        rescue: Callable[[Any], Sequence[float] | None],
        begun: Callable[[Any], bool] = lambda _: True,
    ) -> list[str]:
        """Take over the trials of workers that are gone; one line for each.

        Args:
            gone: whether a worker works no more.
            rescue: the values of a trial whose run was done before it could be told, or None.
            begun: whether a trial's run had begun, and may itself be what took down the worker.
        """
        lines = []
        for trial in self.now():
            worker = trial.user_attrs.get("worker", "")
            if trial.state.name != "RUNNING" or not gone(worker):
                continue
            values = rescue(trial)
            if values is not None:
                ended, what = self.tell(trial.number, "COMPLETE", values), "its run was done, and counts"
            else:
                notes = {"why": "worker gone", "lost": True, "killed": begun(trial)}
                ended = self._end(trial.number, "FAIL", None, notes)
                what = "it is enqueued again"
            if ended:
                lines.append(f"trial {trial.number}: its worker is gone; {what}")
        self.requeue()
        return lines

    def requeue(self) -> None:
        """Enqueue the next attempt of every slot that was lost."""
        for trial in self.now():
            if _lost(trial):
                notes = trial.user_attrs
                params = {**self.slots[notes["slot"]].params, **trial.params}
                kills = notes.get("kills", 0) + bool(notes.get("killed"))
                begun = {"begun": notes["folder"], "begun_by": notes["worker"]} if "folder" in notes else {}
                self._enqueue(notes["slot"], params, notes["attempt"] + 1, kills, begun)

    def _all(self) -> list[Any]:
        return list(self.study.get_trials(deepcopy=False))

    def _enqueue(
        self,
        slot: int,
        params: dict[str, Any],
        attempt: int,
        kills: int,
        begun: Mapping[str, str] | None = None,
    ) -> None:
        notes = {"slot": slot, "attempt": attempt, "kills": kills, **(begun or {}), **self.slots[slot].notes}
        if slot == 0:
            notes["settings"] = self._settings
        self.study.enqueue_trial(params, user_attrs=notes)

    def _end(self, number: int, state: str, values: Sequence[float] | None, notes: Mapping[str, Any]) -> bool:
        import optuna

        try:
            identity = self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
            for name, value in notes.items():  # first: a finished trial can not be written to
                self.storage.set_trial_user_attr(identity, name, value)
            self.study.tell(number, values, state=optuna.trial.TrialState[state])
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        except ValueError as error:
            if "Cannot tell" in str(error):  # it was finished by another worker
                return False
            raise
        return True


def _lost(trial: Any) -> bool:
    """Whether a trial ended because its run or worker was gone, and is to be done again."""
    notes = trial.user_attrs
    again = notes.get("kills", 0) + bool(notes.get("killed")) < MOST_KILLS
    return bool(trial.state.name == "FAIL" and notes.get("lost") and again)


def agree(theirs: Mapping[str, Any], ours: Mapping[str, Any], where: str) -> None:
    """Raise, with what differs, where a sweep on this storage was started with other settings."""
    differ = [
        f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differ:
        raise UsageError(
            f"the sweep in {where} has other settings ({'; '.join(differ)}); give the same, or another --storage"
        )
