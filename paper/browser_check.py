"""Open a report in headless Chromium, as a reader would: on a desktop and a phone, light and dark,
and printed.

    python -m paper.browser_check paper/out/tiny/report.html --out paper/out/tiny/screens

Writes a screenshot for each view and report.pdf. Exit status 1 where the console has messages,
something is fetched, the page is wider than its window, text hardly differs from its ground, or the
print is long. Needs chromium on the PATH; nothing is downloaded.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from boxes.commandline import argument_parser, command, out_folder
from boxes.records import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VIEWS = {
    "desktop-light": (1280, 1),
    "desktop-dark": (1280, 0),
    "phone-light": (390, 1),
    "phone-dark": (390, 0),
}  # name -> width, Blink's number of the preferred colour scheme
HEIGHT = 12000  # pixels; what lies below is not in the pictures
NARROWEST = 500  # pixels, of a window
LEAST_CONTRAST = 4.5  # of text to its ground, WCAG 2 level AA
MOST_PAGES = 12  # of the print
SECONDS = 120
_CONSOLE = re.compile(r':CONSOLE[:(]\d+\)?\] "(.*)", source: ')
_MARK = "measured:"
# Asked of a copy of the page; the page itself has no script. Grounds are laid over each other up to
# the page's.
_MEASURE = """
const parse = text => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const over = (top, under) =>
  top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3])).concat(1);
const ground = node => { const here = parse(getComputedStyle(node).backgroundColor);
  const last = here[3] === 1 || !node.parentElement;
  return over(here, last ? [255, 255, 255, 1] : ground(node.parentElement)); };
const light = c => c.slice(0, 3).map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const contrast = node => { const under = ground(node), style = getComputedStyle(node);
  const ink = parse(style.color); ink[3] *= Number(style.opacity);
  const [a, b] = [light(over(ink, under)), light(under)].sort((x, y) => y - x);
  return (a + .05) / (b + .05); };
addEventListener('load', () => {
  const texts = [...document.querySelectorAll('body *')].filter(node => !node.closest('svg, script')
    && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  const faint = texts.map(node => [contrast(node), node]).sort((a, b) => a[0] - b[0])[0];
  console.log('MARK' + JSON.stringify({
    width: innerWidth, needed: document.documentElement.scrollWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches, fetched: blocked.length,
    contrast: faint[0], faint: faint[1].textContent.trim().slice(0, 40) }));
});
""".replace("MARK", _MARK)


# At the top of the copy: whatever the page would fetch is refused, and counted. (Chromium times no
# resources of file:.)
_REFUSE = """<meta http-equiv="Content-Security-Policy" content="default-src 'none';
style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:"><script>const blocked = [];
addEventListener('securitypolicyviolation', event => blocked.push(event.blockedURI));</script>"""
_DOCTYPE = "<!DOCTYPE html>"


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("page", type=Path, help="report.html")
    parser.add_argument("--out", required=True, type=out_folder, help="folder for the screenshots")
    arguments = parser.parse_args()
    wrong = check(arguments.page, arguments.out)
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{arguments.page}: {len(VIEWS)} views and the print are in {arguments.out}")
    return 1 if wrong else 0


def find_browser() -> str:
    """Chromium's path. UserError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        mend = "install it (on Debian and Ubuntu: apt-get install chromium)"
        raise UserError(f"no chromium on the PATH; {mend}")
    return found


def check(page: Path, out: Path) -> list[str]:
    """Screenshots and report.pdf into a folder; what is wrong with the page, a line each."""
    if not page.is_file():
        raise UserError(f"{page}: no such file; `make all` writes it")
    out.mkdir(parents=True, exist_ok=True)
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "measured.html"
        text = page.read_text(encoding="utf-8").replace(_DOCTYPE, _DOCTYPE + _REFUSE, 1)
        copy.write_text(f"{text}<script>{_MEASURE}</script>", encoding="utf-8")
        for view, (width, scheme) in VIEWS.items():
            look = [
                f"--window-size={max(width, NARROWEST)},{HEIGHT}",
                f"--blink-settings=preferredColorScheme={scheme}",
            ]
            shot = f"--screenshot={(out / view).with_suffix('.png').resolve()}"
            messages = browse(framed(page, width, scratch), [*look, shot], scratch)
            wrong += [f"{page}: {view}: console: {message}" for message in messages]
            messages = browse(framed(copy, width, scratch), [*look, "--dump-dom"], scratch)
            wrong += [f"{page}: {view}: {what}" for what in faults(messages, view)]
        printed = out / "report.pdf"
        browse(page, [f"--print-to-pdf={printed.resolve()}", "--no-pdf-header-footer"], scratch)
    if (count := pages(printed.read_bytes())) > MOST_PAGES:
        wrong.append(f"{page}: {count} pages in print, more than {MOST_PAGES}")
    return wrong


def pages(pdf: bytes) -> int:
    """How many pages a PDF of Chromium has, whose page objects stand in it uncompressed."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def framed(page: Path, width: int, scratch: str) -> Path:
    """A page that shows another in a frame of some pixels: Chromium's own windows are not as narrow
    as a phone."""
    frame = Path(scratch) / "frame.html"
    style = f"border: 0; width: {width}px; height: {HEIGHT}px"
    frame.write_text(
        '<!DOCTYPE html><meta name="color-scheme" content="light dark"><body style="margin: 0">'
        f'<iframe style="{style}" src="{page.resolve().as_uri()}"></iframe>'
    )
    return frame


def browse(page: Path, options: list[str], profile: str) -> list[str]:
    """Open a page; what it writes to the console. UserError where the browser does not work."""
    fixed = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--enable-logging=stderr", "--disable-background-networking", "--no-first-run",
             f"--user-data-dir={profile}/browser"]  # fmt: skip
    words = [find_browser(), *fixed, *options, page.resolve().as_uri()]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{page}: the browser took more than {SECONDS} s; try again") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{page}: the browser ended with status {done.returncode}: {last}")
    return _CONSOLE.findall(done.stderr)


def faults(messages: list[str], view: str) -> list[str]:
    """What the measurements of a view say against it."""
    found = [message.removeprefix(_MARK) for message in messages if message.startswith(_MARK)]
    if not found:
        return ["nothing could be measured: the page did not load"]
    seen, (width, scheme) = json.loads(found[0]), VIEWS[view]
    tests = {
        f"shown {seen['width']} pixels wide, not {width}": seen["width"] != width,
        f"shown in the {'dark' if seen['dark'] else 'light'} scheme": seen["dark"] != (scheme == 0),
        f"{seen['needed']} pixels wide in a window of {width}": seen["needed"] > width,
        f"fetched {seen['fetched']} resources": seen["fetched"] > 0,
        f"contrast {seen['contrast']:.1f} of {seen['faint']!r}, less than {LEAST_CONTRAST}":
            seen["contrast"] < LEAST_CONTRAST,
    }  # fmt: skip
    return [what for what, is_so in tests.items() if is_so]


if __name__ == "__main__":
    main()
