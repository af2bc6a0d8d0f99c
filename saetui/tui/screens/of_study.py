"""What the screens about one study share: what they look at, and what the same is in a shell."""

from saetui.studies.store import Study
from saetui.tui.screens.polling import PollingScreen
from saetui.tui.shell_words import command
from saetui.tui.study_watch import SeenReport, SeenStudies, one_study


class OfStudyScreen(PollingScreen[SeenStudies[SeenReport]]):
    def __init__(self, study: Study, interval: float) -> None:
        super().__init__(interval)
        self.study = study
        self._watch = one_study(study)

    def look(self) -> SeenStudies[SeenReport] | None:
        return self._watch.poll()

    def headless(self) -> list[str]:
        return [command("study", "report", self.study.name)]

    @property
    def export_stem(self) -> str:
        return self.study.name
