"""The page for people: whole, self-contained, escaped, bounded, and with the evaluation's own numbers."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from bright_spots import Brightest, Quiet, bright_model
from small_bundle import write_bundle
from small_dataset import plate, save, save_dataset, scratched

from agent.model import Model
from agent.preprocess import read_image
from kensa import main
from training.chart import curve, histogram, whisker
from training.data import unseen_parts
from training.evaluate import Trained, evaluate, evaluate_command, origin_of
from training.evaluation import rate_of
from training.picture import MOST_PICTURES, Picture, Pictures, galleries, pictures
from training.report import LARGEST_PAGE_BYTES, page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Tags with their attributes, the text, and the tags that are still open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        last = self.open.pop()
        assert last == tag, f"</{tag}> closes <{last}>"

    def handle_data(self, data):
        self.text += data.replace("\N{NO-BREAK SPACE}", " ")

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def provenance(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("made") / "bundle").provenance


@pytest.fixture
def report_of(provenance):
    """The page about the test parts of a data set, as a model without training sees them."""

    def made(data: Path, model: str = "runs/plate") -> str:
        judge = bright_model(Brightest())
        photographs = unseen_parts(data)
        evaluation = evaluate(judge, photographs, Quiet())
        origin = origin_of(Trained(judge, {}, "onnxruntime", provenance), Path(model), data, photographs)
        return page(evaluation, origin, pictures(evaluation, photographs, judge))

    return made


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Four good parts, one of them wrongly bright, and five defects, one of them too dark to be found."""
    save_dataset(tmp_path)
    save(tmp_path / "test" / "good" / "000.png", scratched(plate(1000)))
    save(tmp_path / "test" / "dark" / "000.png", plate(3000))
    save(tmp_path / "ground_truth" / "dark" / "000_mask.png", scratched(np.zeros((80, 96, 3), np.uint8)))
    return tmp_path


def test_every_tag_is_closed_where_it_should_be(report_of, mixed: Path) -> None:
    reader = Reader(report_of(mixed))

    assert reader.open == []
    assert [tag for tag, _ in reader.tags].count("section") == 9


def test_nothing_comes_from_elsewhere(report_of, mixed: Path) -> None:
    text = report_of(mixed)
    reader = Reader(text)

    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert all(source.startswith("data:image/jpeg;base64,") for source in reader.values("src"))
    assert reader.values("href") == reader.values("srcset") == []
    assert "http" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\([^)]*\)", text)) == {"url(#hatch-good)", "url(#hatch-defect)"}


def test_names_of_files_and_folders_are_text_and_never_markup(report_of, mixed: Path) -> None:
    kind, file = '<img src=x onerror="alert(1)">&amp;', "\"'><script>alert(2)<.png"
    (mixed / "test" / "dark").rename(mixed / "test" / kind)
    (mixed / "test" / kind / "000.png").rename(mixed / "test" / kind / file)

    reader = Reader(report_of(mixed, model="runs/<b>bold</b>"))

    assert not any(tag in ("script", "b") for tag, _ in reader.tags)
    assert reader.values("onerror") == []
    assert f"{kind}/{file}" in reader.text
    assert reader.open == []


def test_the_verdict_is_told_in_plain_words_with_exact_limits(report_of, mixed: Path) -> None:
    text = Reader(report_of(mixed)).text

    assert "1 of 4 good parts rejected" in text
    assert "Of 100 good parts it rejects between 0.6 and 80.6." in text  # Clopper-Pearson, 1 of 4: 0.63 and 80.59
    assert "1 of 5 defects passed" in text
    assert "Of 100 defects like these it lets pass between 0.5 and 71.6." in text  # 1 of 5: 0.51 and 71.64


def test_each_sensitivity_is_told_with_what_it_finds_and_what_it_costs(report_of, mixed: Path) -> None:
    text = Reader(report_of(mixed)).text

    assert "0.54 of 580.0 %28.4 to 99.5 %1 of 425.0 %0.6 to 80.6 %" in text  # a scratch on a good part, none on a defect
    assert "prove it on other parts before the line relies on it" in text


def test_the_numbers_are_those_of_the_evaluation(report_of, mixed: Path) -> None:
    evaluation = evaluate(bright_model(Brightest()), unseen_parts(mixed), Quiet())

    text = Reader(report_of(mixed)).text

    assert f"image AUROC {100 * evaluation.image_auroc:.1f} %" in text
    assert f"AU-PRO {100 * evaluation.aupro:.1f} %" in text
    assert f"{100 * evaluation.pixel_average_precision:.1f} %" in text
    assert f"The threshold is {evaluation.threshold:.6g}" in text
    assert all(size in text for size in evaluation.per_size)


def test_the_origin_is_told(report_of, mixed: Path, provenance) -> None:
    text = Reader(report_of(mixed)).text

    assert provenance.data_sha256 in text
    assert provenance.weights_sha256 in text
    assert provenance.weights_licence in text
    assert f"seed {provenance.seed}" in text
    assert "onnxruntime" in text
    assert "of this machine, not of the device" in text


def test_wrong_verdicts_are_shown_with_their_names(report_of, mixed: Path) -> None:
    reader = Reader(report_of(mixed))

    assert "Defects that passed: 1 of 1" in reader.text
    assert "Good parts that were rejected: 1 of 1" in reader.text
    assert "dark/000.png" in reader.text
    assert len(reader.values("src")) == 2 * (1 + 1 + 4)  # escape, false reject and four found, photograph and heat map


def test_without_wrong_verdicts_none_is_shown(report_of, dataset: Path) -> None:
    text = Reader(report_of(dataset)).text

    assert "Defects that passed: none" in text
    assert "Good parts that were rejected: none" in text


def test_what_limits_the_figures_stands_before_them(report_of, mixed: Path) -> None:
    save(mixed / "test" / "good" / "huge.png", plate(0, 400, 300))
    (mixed / "ground_truth" / "scratch" / "001_mask.png").unlink()

    text = Reader(report_of(mixed)).text

    before = text[: text.index("Number of parts by score")]
    assert "huge.png: image is 400x300 px" in before
    assert "Without a mask: scratch/001.png" in before
    assert "Only 5 good parts were tested" in before


def test_the_heat_map_is_coloured_on_the_scratch_only(mixed: Path) -> None:
    judge, photographs = bright_model(Brightest()), unseen_parts(mixed)
    evaluation = evaluate(judge, photographs, Quiet())

    shown = pictures(evaluation, photographs, judge).weakest_found[0].heat_map.astype(int)

    colorful = shown.max(axis=2) - shown.min(axis=2) > 40
    assert colorful[8:18, 5:50].mean() > 0.5  # the scratch runs from (5, 10) to (50, 14)
    assert not colorful[40:].any()


def test_a_defect_thinner_than_a_pixel_of_the_report_is_outlined(tmp_path: Path) -> None:
    save_dataset(tmp_path, n_test=1)
    line = cv2.line(np.zeros((1600, 1900, 3), np.uint8), (300, 400), (1200, 460), (255, 255, 255), 1)
    save(tmp_path / "test" / "scratch" / "000.png", plate(3, 1900, 1600) | line)
    save(tmp_path / "ground_truth" / "scratch" / "000_mask.png", line)
    judge = bright_model(Brightest())
    large = Model(msgspec.structs.replace(judge.contract, max_width=2000, max_height=2000), judge.runtime, judge.calibration)
    photographs = unseen_parts(tmp_path)

    shown = pictures(evaluate(large, photographs, Quiet()), photographs, large)

    (scratch,) = (*shown.escapes, *shown.weakest_found)
    cyan = (scratch.heat_map == (0, 225, 255)).all(axis=2)
    assert cyan[:, 60:220].any(axis=0).all()  # the line runs from 57 to 227 of 360 px


def test_the_worst_come_first(mixed: Path) -> None:
    save(mixed / "test" / "dark" / "001.png", plate(3001) // 2)
    judge, photographs = bright_model(Brightest()), unseen_parts(mixed)
    evaluation = evaluate(judge, photographs, Quiet())

    escapes = pictures(evaluation, photographs, judge).escapes

    assert [Path(p.part.path).name for p in escapes] == ["001.png", "000.png"]


def test_parts_that_could_not_be_inspected_are_told_apart_from_those_that_are_shown(mixed: Path) -> None:
    save(mixed / "test" / "good" / "huge.png", plate(0, 400, 300))
    judge, photographs = bright_model(Brightest()), unseen_parts(mixed)
    evaluation = evaluate(judge, photographs, Quiet())

    text = galleries(evaluation, pictures(evaluation, photographs, judge))

    assert "Good parts that were rejected: 1 of 1, highest score first; besides, 1 that could not be inspected" in text


def test_the_page_is_bounded_even_where_every_picture_is_noise(mixed: Path, provenance) -> None:
    judge, photographs = bright_model(Brightest()), unseen_parts(mixed)
    evaluation = evaluate(judge, photographs, Quiet())
    noise = np.random.default_rng(0).integers(0, 256, (360, 360, 3), dtype=np.uint8)
    many = (Picture(evaluation.parts[0], noise, noise),) * MOST_PICTURES
    worst = msgspec.structs.replace(evaluation, refused=tuple(f"{k:0250}: {'x' * 250}" for k in range(500)))
    origin = origin_of(Trained(judge, {}, "onnxruntime", provenance), Path("run"), mixed, photographs)

    text = page(worst, origin, Pictures(many, (), ()))

    assert len(text.encode()) < LARGEST_PAGE_BYTES


def test_photographs_of_any_size_have_a_heat_map_of_theirs(tmp_path: Path) -> None:
    save_dataset(tmp_path)
    save(tmp_path / "test" / "scratch" / "000.png", scratched(plate(1, 200, 180)))
    (tmp_path / "ground_truth" / "scratch" / "000_mask.png").unlink()
    judge, photographs = bright_model(Brightest()), unseen_parts(tmp_path)

    shown = pictures(evaluate(judge, photographs, Quiet()), photographs, judge)

    found = (*shown.escapes, *shown.weakest_found)  # the thin scratch on the large plate may be missed
    assert {p.photograph.shape for p in found} == {(180, 200, 3), (80, 96, 3)}
    assert all(p.photograph.shape == p.heat_map.shape for p in found)


def test_the_command_writes_the_page(dataset: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    file = tmp_path / "report.html"

    assert evaluate_command([str(tmp_path / "bundle"), "--data", str(dataset), "--report", str(file)]) == 0

    assert f"bundle on {dataset.name}" in Reader(file.read_text()).text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "report.html"]


def test_a_page_that_cannot_be_written_is_one_message(dataset: Path, tmp_path: Path, capsys) -> None:
    write_bundle(tmp_path / "bundle")

    assert main(["evaluate", str(tmp_path / "bundle"), "--data", str(dataset), "--report", f"{__file__}/report.html"]) == 2

    assert "report.html: cannot be written" in capsys.readouterr().err


# --- drawings


def test_the_histogram_hatches_wrong_verdicts_and_keeps_every_part_on_the_page() -> None:
    drawing = histogram([0.0, 0.1, 1.0], [0.5, 1.2, 9.0, 1e9, float("inf")])

    bars = re.findall(
        r'<rect (?:fill="url\(#hatch-(\w+)\)" )?class="([\w-]+)" x="([\d.]+)" .*?width="([\d.]+)" height="([\d.]+)"', drawing
    )
    assert [(wrong, kind) for wrong, kind, *_ in bars if wrong] == [("good", "edge-good"), ("defect", "edge-defect")]
    assert all(0 < float(x) < float(x) + float(width) <= 860 for _, _, x, width, _ in bars)
    assert "Good parts (3)" in drawing
    assert "Defects (5)" in drawing


@pytest.mark.parametrize(
    ("good", "defect"),
    [([], []), ([0.0], [float("inf")]), ([-1e6, 0.0], [1e6]), ([1.0], [1.0]), (list(np.linspace(-9, 0, 999)), [3.0])],
    ids=["nothing", "refused", "far apart", "all at the threshold", "far below"],
)
def test_a_histogram_of_any_scores_is_a_drawing(good, defect) -> None:
    drawing = Reader(histogram(good, defect))

    assert drawing.open == []
    assert "nan" not in str(drawing.tags)


def test_a_curve_runs_from_corner_to_corner() -> None:
    drawing = Reader(curve([(0.0, 0.0), (0.15, 0.5), (0.3, 1.0)], "PRO <curve>", ("x", "y"), 0.3, 6))

    assert drawing.values("points") == ["52.0,292.0 228.0,152.0 404.0,12.0"]
    assert drawing.values("aria-label") == ["PRO <curve>"]


def test_a_whisker_reaches_from_limit_to_limit() -> None:
    drawing = Reader(whisker(rate_of(5, 10)))

    line = next(attributes for _, attributes in drawing.tags if attributes.get("class") == "whisker")
    assert float(line["x1"]) == pytest.approx(5 + 210 * 0.1871, abs=0.06)  # Clopper-Pearson of 5 of 10; one decimal
    assert float(line["x2"]) == pytest.approx(5 + 210 * 0.8129, abs=0.06)


# --- a real browser


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)")
def test_a_real_browser_prints_the_page_on_a4(report_of, mixed: Path, tmp_path: Path) -> None:
    file, printed = tmp_path / "report.html", tmp_path / "report.pdf"
    file.write_text(report_of(mixed))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={tmp_path / 'profile'}"]

    subprocess.run([CHROMIUM, *options, f"--print-to-pdf={printed}", file.as_uri()], check=True, timeout=50, capture_output=True)

    pdf = printed.read_bytes()
    boxes = [tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", pdf)]
    assert 1 <= len(boxes) <= 8
    assert all(box == pytest.approx((0, 0, 595.3, 841.9), abs=1.0) for box in boxes)  # A4 in points
    assert pdf.count(b"/Subtype /Image") >= 2 * 6


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)")
def test_a_real_browser_shows_the_page(report_of, mixed: Path, tmp_path: Path) -> None:
    file, picture = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(report_of(mixed))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}"]
    size = ["--window-size=1000,1200", f"--screenshot={picture}"]

    subprocess.run([CHROMIUM, *options, *size, file.as_uri()], check=True, timeout=50, capture_output=True)

    pixels = read_image(picture).astype(int)
    blue = (abs(pixels - [0x1F, 0x5F, 0xA8]) < 12).all(axis=2)
    orange = (abs(pixels - [0xC0, 0x5A, 0x00]) < 12).all(axis=2)
    assert blue.sum() > 500  # the edge of the card and the bars of good parts
    assert orange.sum() > 500
    assert (pixels[:, -20:] == 255).all()  # nothing runs over the right edge
