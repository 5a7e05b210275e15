"""The lesson's exercises: checks that tell right from wrong, copies without leaks. nbval executes the solutions."""

import ast
import re
import tomllib
from types import SimpleNamespace

import ipywidgets
import jupytext
import lesson
import make_copies
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from lesson import NotYetError, checking, quiz
from PIL import Image

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.paths import ROOT

SOURCE = jupytext.read(make_copies.SOURCE, fmt="py:percent")
STUDENTS = nbformat.read(make_copies.STUDENTS, 4)
SOLUTIONS = nbformat.read(make_copies.SOLUTIONS, 4)
WRONG = {  # exercise -> what pupils write, and a piece of the sentence that they read
    1: [
        ("return backbone(images)", "in training mode"),
        ("with torch.no_grad():\n        return torch.cat([backbone(part) for part in images.split(128)])", "training"),
        ("backbone.eval()\n    return backbone(images)", "gradients"),
        ("backbone.eval()\n    with torch.no_grad():\n        backbone(images)", "return"),
        ("backbone.eval()\n    with torch.no_grad():\n        return backbone(images[:10])", "(10, 512)"),
        ("with torch.no_grad():\n        some = backbone(images)\n    backbone.eval()\n    return some", "learnt"),
    ],
    2: [
        ("loss = F.cross_entropy(head(inputs), labels)\n    loss.backward()\n    optimizer.step()\n"
         "    return loss.item()", "old gradients"),
        ("loss = F.cross_entropy(head(inputs), labels)\n    optimizer.zero_grad()\n    loss.backward()\n"
         "    return loss.item()", "not moved"),
        ("loss = F.cross_entropy(head(inputs), labels)\n    optimizer.zero_grad()\n    loss.backward()\n"
         "    optimizer.step()\n    return loss", "as a number"),
        ("loss = F.cross_entropy(head(inputs).softmax(1), labels)\n    optimizer.zero_grad()\n    loss.backward()\n"
         "    optimizer.step()\n    return loss.item()", "the loss should be"),
        ("loss = F.cross_entropy(head(inputs), labels)\n    loss.backward()\n    optimizer.zero_grad()\n"
         "    optimizer.step()\n    return loss.item()", "not moved"),
    ],
    3: [
        ("parts = list(model.parameters())\n    return sum(p.requires_grad for p in parts) / len(parts)", "tensors"),
        ("parts = list(model.parameters())\n    every = sum(p.numel() for p in parts)\n"
         "    return sum(p.numel() for p in parts if not p.requires_grad) / every", "share of the frozen"),
        ("return sum(p.numel() for p in model.parameters() if p.requires_grad)", "0.375, not 30"),
        ("return 0.375", "with nothing frozen"),
        ("return sum(p.numel() for p in model.parameters()) / 80", "0.375"),
    ],
    4: [("model.train()", "bn1 is frozen"), ("model.eval()", "now layer4"), ("return model", "now layer4"),
        ("model.eval()\n    model.layer4.train()", "head")],
    5: [
        ("return rng.choice(len(labels), 7 * per_class, replace=False)", "each class"),
        ("return np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(7)])", "never change"),
        ("parts = [rng.choice(np.flatnonzero(labels == label), per_class) for label in range(7)]\n"
         "    return np.concatenate(parts)", "twice"),
        ("return rng.choice(np.flatnonzero(labels == 3), per_class, replace=False)", "not 5"),
    ],
}  # fmt: skip


def tagged(tag):
    return [cell for cell in SOURCE.cells if tag in cell.metadata.get("tags", [])]


@pytest.fixture(scope="module")
def around(own_cache):
    """The names of the setup cell."""
    names = {}
    exec("seed = 0\n" + tagged("setup")[0].source, names)
    return names


def examine(number, written, around):
    """Run an exercise's cell with these lines in the solution's place, then its check."""
    names = dict(around)
    lines = "    " + written + "\n"
    exec(make_copies.SOLVED.sub(lambda _: lines, tagged("exercise")[number - 1].source + "\n"), names)
    exec(tagged("check")[number - 1].source, names)


def test_the_lessons_minutes_are_those_of_the_teachers_plan():
    guide = make_copies.SOURCE.with_name("for_teachers.md").read_text(encoding="utf-8")
    lesson_text = make_copies.SOURCE.read_text(encoding="utf-8")
    plan = re.findall(r"^\| (\d+) to (\d+) \| Part", guide, re.MULTILINE)
    headings = re.findall(r"^# ## \d · .*\((\d+) minutes\)$", lesson_text, re.MULTILINE)
    assert [int(end) - int(start) for start, end in plan] == [int(minutes) for minutes in headings] and len(plan) == 5


def test_the_guide_has_the_answers_to_the_first_figure():
    source = (ROOT / ".maintain" / "draw_figures.py").read_text("utf-8")
    (words,) = re.findall(r"^GUESSED = (\(.*?\))", source, re.MULTILINE)
    assert sorted(ast.literal_eval(words)) == sorted(CLASSES)
    guide = make_copies.SOURCE.with_name("for_teachers.md").read_text("utf-8")
    assert f"from A to G: {', '.join(ast.literal_eval(words))}." in guide


def test_there_are_enough_exercises_each_with_quiz_hint_and_check():
    assert len(SOURCE.cells) <= 30
    assert len(tagged("exercise")) == len(tagged("check")) == len(WRONG) >= 5
    for number, cell in enumerate(tagged("exercise")):
        place = SOURCE.cells.index(cell)
        text, question, check = (SOURCE.cells[place + step] for step in (-2, -1, 1))
        assert f"**Exercise {number + 1}.**" in text.source and "<summary>Hint</summary>" in text.source
        assert "minutes)" in text.source and "**Guess:**" in text.source
        assert question.source.startswith("quiz(") and "check" in check.metadata.tags


@pytest.mark.parametrize("number", WRONG)
def test_the_solution_passes(number, around, capsys):
    solution = make_copies.SOLVED.search(tagged("exercise")[number - 1].source + "\n")[2]
    examine(number, solution.strip(), around)
    assert capsys.readouterr().out == f"Right: exercise {number}.\n"


@pytest.mark.parametrize("number", WRONG)
def test_the_stub_does_not_pass(number, around):
    with pytest.raises(NotYetError, match=f"exercise {number} is still empty"):
        examine(number, make_copies.STUB, around)


@pytest.mark.parametrize(
    "number, written, sentence", [(number, *answer) for number, answers in WRONG.items() for answer in answers]
)
def test_wrong_answers_are_told_in_a_sentence(number, written, sentence, around):
    with pytest.raises(NotYetError) as caught:
        examine(number, written, around)
    assert sentence in str(caught.value) and "stops with" not in str(caught.value)


def solved_lines():
    """The lines that only the solutions hold; brackets and the like are no secret."""
    parts = [make_copies.SOLVED.search(cell.source + "\n")[2] for cell in tagged("exercise")]
    return [line.strip() for part in parts for line in part.splitlines() if len(line.strip()) > 10]


def test_no_solution_leaks_into_the_students_copy():
    shown = "\n".join(cell.source for cell in STUDENTS.cells)
    assert len(solved_lines()) >= 10 and not [line for line in solved_lines() if line in shown]
    for cell in STUDENTS.cells:
        if "exercise" in cell.metadata.get("tags", []):
            assert make_copies.STUB.strip() in cell.source
            (function,) = ast.parse(cell.source).body
            assert all(isinstance(part, ast.Raise | ast.Expr) for part in function.body)


def test_the_copies_come_from_the_source():
    for copy, made in ((STUDENTS, make_copies.student_copy(SOURCE)), (SOLUTIONS, make_copies.solution_copy(SOURCE))):
        assert [(cell.cell_type, cell.source) for cell in copy.cells] == [(c.cell_type, c.source) for c in made.cells]
        assert "# solution" not in "".join(cell.source for cell in copy.cells)


def test_students_get_no_outputs_and_teachers_get_them_all():
    code = [cell for cell in STUDENTS.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    code = [cell for cell in SOLUTIONS.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert printed.count("Right: exercise") == len(WRONG)


def test_a_notebook_shows_the_sentence_alone(capsys):
    InteractiveShell().run_cell("from lesson import checking\nwith checking('exercise 9'):\n    assert 0, 'Too small.'")
    assert capsys.readouterr().out.strip() == "Not yet: Too small."


def test_other_errors_are_named():
    with pytest.raises(NotYetError, match="exercise 1 stops with ZeroDivisionError"), checking("exercise 1"):
        1 / 0  # noqa: B018


def test_each_question_answers_each_choice():
    for name in tomllib.loads(lesson.QUIZZES.read_text(encoding="utf-8")):
        assert f'quiz("{name}")' in "".join(cell.source for cell in SOURCE.cells)
        box = quiz(name)
        choice, remark = box.children
        assert isinstance(choice, ipywidgets.RadioButtons) and choice.value is None and not remark.value
        seen = set()
        for option in choice.options:
            choice.value = option
            seen.add(remark.value)
        assert len(seen) == len(choice.options) >= 3


def test_the_curve_grows(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", lambda *_, **__: SimpleNamespace(update=shown.append))
    curve = lesson.LiveCurve("loss", "steps", 1.95, "guessing")
    curve.add(2.0, 1.5)
    curve.add(1.0)
    assert [len(figure.axes[0].lines[0].get_xdata()) for figure in shown] == [2, 3]


def test_ten_figures_fit_the_projector():
    figures = sorted((ROOT / "figures" / "classroom").glob("*.png"))
    assert [figure.name[:2] for figure in figures] == [f"{number:02}" for number in range(1, 11)]
    for figure in figures:
        width, height = Image.open(figure).size
        assert abs(width / height - 16 / 9) < 0.01 and height >= 720
