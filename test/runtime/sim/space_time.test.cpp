#include "runtime/sim/space_time.hpp"

#include "test/runtime/sim/made_trace.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

using namespace astra::sim;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

std::string slurp(const fs::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

// Runs Debian's browser on pages in a directory of its own.
class browser {
public:
  browser() {
    std::string name = fs::temp_directory_path() / "astra-space-time-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    place_ = name;
  }

  ~browser() {
    std::error_code ignored;
    fs::remove_all(place_, ignored);
  }

  static bool installed() { return std::system("command -v chromium >/dev/null 2>&1") == 0; }

  void write(const std::string& page) { std::ofstream{place_ / "page.html", std::ios::binary} << page; }

  /// The page as it is after its scripts ran; `fragment` is what follows the # in its address.
  std::string load(const std::string& fragment = {}) {
    run("--dump-dom --virtual-time-budget=4000", fragment);
    return slurp(place_ / "out");
  }

  std::string screenshot(const std::string& fragment = {}) {
    run("--hide-scrollbars --virtual-time-budget=4000 --screenshot='" + (place_ / "page.png").string() + "'", fragment);
    return slurp(place_ / "page.png");
  }

private:
  void run(const std::string& what, const std::string& fragment) {
    auto at = place_.string();
    auto command = "cd '" + at + "' && HOME='" + at
                   + "' timeout 100 chromium --headless --no-sandbox --disable-gpu"
                     " --disable-dev-shm-usage --no-first-run --disable-extensions --disable-background-networking"
                     " --user-data-dir='"
                   + at + "/profile' --window-size=1600,1000 " + what + " 'file://" + at + "/page.html"
                   + (fragment.empty() ? "" : "#" + fragment) + "' >out 2>err";
    auto status = std::system(command.c_str());
    REQUIRE_MESSAGE(status == 0, slurp(place_ / "err"));
  }

  fs::path place_;
};

// The value of a data attribute of the page's body.
std::string fact(const std::string& page, const std::string& name) {
  auto body = page.find("<body ");
  REQUIRE(body != std::string::npos);
  auto at = page.find(" data-" + name + "=\"", body);
  REQUIRE_MESSAGE(at != std::string::npos, name);
  at = page.find('"', at) + 1;
  return page.substr(at, page.find('"', at) - at);
}

long number(const std::string& page, const std::string& name) {
  return std::stol(fact(page, name));
}

// The page with a script of ours at its end, which the page's own policy would refuse.
std::string with_probe(std::string page, const std::string& script) {
  auto policy = page.find("<meta http-equiv");
  page.erase(policy, page.find('\n', policy) - policy);
  page.insert(page.rfind("</body>"), "<script>" + script + "</script>");
  return page;
}

} // namespace

TEST_CASE("a page asks for nothing from outside") {
  auto page = space_time_page(test::busy_cluster(2'000));
  CHECK(page.find("http://") == std::string::npos);
  CHECK(page.find("https://") == std::string::npos);
  CHECK(page.find(" src=") == std::string::npos);
  CHECK(page.find(" href=") == std::string::npos);
  CHECK(page.find("default-src 'none'; script-src 'sha256-") != std::string::npos);
  CHECK(page.find("unsafe-inline") == std::string::npos);
  // All placeholders are filled.
  for (auto mark : {"@POLICY@", "@FACTS@", "@EVENTS@"})
    CHECK(page.find(mark) == std::string::npos);
}

TEST_CASE("a page of 100,000 events takes at most 20 bytes per event") {
  auto got = test::busy_cluster(100'000);
  auto page = space_time_page(got);
  CHECK_MESSAGE(page.size() < 20 * got.records.size(), page.size());
}

TEST_CASE("a page of a trace without events, and one of texts that are no text, load without an error") {
  if (!browser::installed()) {
    MESSAGE("skipped: no chromium; scripts/bootstrap installs it");
    return;
  }
  browser chromium;
  trace nothing;
  nothing.machines = {{"", "", ""}};
  chromium.write(space_time_page(nothing));
  auto page = chromium.load();
  CHECK(fact(page, "errors") == "0");
  CHECK(fact(page, "events") == "0");
  test::trace_maker maker;
  auto where = maker.machine("node-1", "node");
  maker.happen(1s, event_kind::log, where, "</script><b id=\"broken\">\xff\xfe & <!-- \\ ' \"");
  chromium.write(space_time_page(maker.result));
  page = chromium.load("event=1");
  CHECK(fact(page, "errors") == "0");
  CHECK(fact(page, "events") == "1");
  CHECK(page.find("<b id=\"broken\">") == std::string::npos);
  CHECK(page.find("&lt;b id=\"broken\"&gt;") != std::string::npos);
}

TEST_CASE("a browser draws 50 machines and 100,000 events without an error") {
  if (!browser::installed()) {
    MESSAGE("skipped: no chromium; scripts/bootstrap installs it");
    return;
  }
  static const auto got = test::busy_cluster(100'000);
  REQUIRE(got.failures.size() == 1);
  browser chromium;
  chromium.write(space_time_page(got));
  SUBCASE("as a whole, with density where arrows would hide each other") {
    auto page = chromium.load();
    CHECK_MESSAGE(fact(page, "errors") == "0", page.substr(page.find("<body "), 400));
    CHECK(number(page, "lanes") == 50);
    CHECK(number(page, "events") == static_cast<long>(got.records.size()));
    CHECK(number(page, "faults") == 3);
    CHECK(number(page, "dense") > 10'000);
    CHECK(number(page, "drawn") > 10'000);
    CHECK(number(page, "painted") > 50'000);
    // Nothing was cut, so nothing is said.
    CHECK(page.find("<span class=\"notice\" id=\"notice\"></span>") != std::string::npos);
  }
  SUBCASE("a small window as arrows, with a message and its causes") {
    auto& failed = got.failures.front();
    auto window = "t=" + std::to_string(static_cast<double>(failed.at.count()) / 1e9 - 0.02) + ","
                  + std::to_string(static_cast<double>(failed.at.count()) / 1e9 + 0.02);
    auto page = chromium.load(window + "&event=" + std::to_string(failed.number));
    CHECK(fact(page, "errors") == "0");
    CHECK(number(page, "dense") == 0);
    CHECK(number(page, "arrows") > 0);
    CHECK(number(page, "arrows") < 1'600);
    CHECK(number(page, "selected") == static_cast<long>(failed.number));
    // arrive, send, step of the answer, ... back to the timer of the gateway.
    CHECK(number(page, "chain") > 6);
    CHECK(page.find("<ol class=\"chain\" id=\"chain\"><li><button") != std::string::npos);
  }
  SUBCASE("as a picture") {
    auto png = chromium.screenshot();
    CHECK(png.starts_with("\x89PNG"));
    CHECK(png.size() > 40'000);
  }
}

TEST_CASE("a page that had to leave events out says so") {
  auto got = test::busy_cluster(20'000);
  auto options = space_time_options{.events_max = 5'000};
  if (!browser::installed()) {
    MESSAGE("skipped: no chromium; scripts/bootstrap installs it");
    return;
  }
  browser chromium;
  chromium.write(space_time_page(got, options));
  auto page = chromium.load();
  CHECK(number(page, "events") == 5'000);
  CHECK(fact(page, "errors") == "0");
  CHECK(page.find("Only 5,000 of 20,0") != std::string::npos);
  chromium.write(space_time_page(got, {.from = 2s, .until = 3s}));
  page = chromium.load();
  auto inside = std::count_if(got.records.begin(), got.records.end(), [](auto& x) { return x.at >= 2s && x.at < 3s; });
  CHECK(number(page, "events") == inside);
  CHECK(page.find("events are on this page: 2.") != std::string::npos);
}

TEST_CASE("keys, wheel, clicks and filters do what the page says") {
  if (!browser::installed()) {
    MESSAGE("skipped: no chromium; scripts/bootstrap installs it");
    return;
  }
  browser chromium;
  chromium.write(with_probe(space_time_page(test::busy_cluster(50'000)), R"(
    const key = k => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: k, bubbles: true, cancelable: true }));
    const say = (name, value) => { document.body.dataset[name] = value; };
    const span = () => view.until - view.from;
    const whole = span();
    key("+"); say("zoomed", Math.round(span() / whole * 100));
    const before = view.from; key("ArrowRight"); say("moved", view.from > before);
    key("0"); say("reset", span() === whole);
    const box = canvas.getBoundingClientRect(), x = box.left + 900;
    const point = t_of(x - box.left);
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -1000, clientX: x, clientY: box.top + 300, cancelable: true }));
    say("wheeled", span() < whole / 3 && Math.abs(x_of(point) - 900) < 1);
    key("f"); draw(); say("failure", number[selected] === facts.failures[0][0] && x_of(facts.failures[0][1]) > gutter);
    key("c"); say("cause", kinds[kind[selected]]);
    key("Escape"); say("none", selected);
    // A click on the middle of an arrow shows that message.
    let clicked = "none in view";
    for (let i = 0; i < arrow_count && clicked === "none in view"; ++i) {
      if (arrows.fate[i] || arrows.from[i] < 3e9 || arrows.from[i] > 4e9) continue;
      look_at(arrows.from[i] - 1e6, arrows.until[i] + 1e6); draw();
      const [x0, y0, x1, y1] = ends(i), cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
      if (cy < faults_height() + 10 || cy > height || hit(cx, cy) !== arrows.event[i]) continue;
      const at = { clientX: box.left + cx, clientY: box.top + cy, pointerId: 1 };
      canvas.dispatchEvent(new PointerEvent("pointerdown", at)); canvas.dispatchEvent(new PointerEvent("pointerup", at));
      clicked = selected === arrows.event[i] && $("event").textContent.includes("#" + number[selected]) && chain.size > 1;
    }
    say("clicked", clicked);
    key("0"); draw();
    const all = Number(document.body.dataset.drawn);
    for (const input of document.querySelectorAll("#families input")) input.click();
    draw(); say("filtered", Number(document.body.dataset.drawn) < all / 4);
    $("machines").value = "role:resource node-1"; $("machines").dispatchEvent(new Event("input"));
    say("kept", document.body.dataset.lanes);
    $("from").value = 5000; $("from").dispatchEvent(new Event("input"));
    say("slid", Math.abs(view.from - (begin + (end - begin) / 2)) < 1e6);
    const dark = document.documentElement.dataset.theme; $("theme").click();
    say("themed", dark !== document.documentElement.dataset.theme);
    $("find").value = "resource.evict"; $("find").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
    say("found", facts.texts[text[selected]]);
  )"));
  auto page = chromium.load();
  CHECK_MESSAGE(fact(page, "errors") == "0", page.substr(page.find("<body "), 600));
  CHECK(fact(page, "zoomed") == "60");
  for (auto name : {"moved", "reset", "wheeled", "failure", "clicked", "filtered", "slid", "themed"})
    CHECK_MESSAGE(fact(page, name) == "true", name);
  CHECK(fact(page, "cause") == "arrive");
  CHECK(fact(page, "none") == "-1");
  CHECK(fact(page, "kept") == "4");
  CHECK(fact(page, "found") == "resource.evict node=node-22 silent_ms=3000");
}
