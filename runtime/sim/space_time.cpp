#include "runtime/sim/space_time.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

namespace astra::sim {

// Made at build time from space_time.html.
extern const std::string_view space_time_template;

namespace {

std::string base64(std::string_view bytes) {
  std::string result(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  auto size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(result.data()),
                              reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  result.resize(static_cast<std::size_t>(size));
  return result;
}

// As a Content-Security-Policy names a script or a style.
std::string policy_hash(std::string_view text) {
  std::array<unsigned char, 32> digest;
  unsigned size = 0;
  [[maybe_unused]] auto done = EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr);
  assert(done == 1 && size == digest.size());
  return "'sha256-" + base64({reinterpret_cast<const char*>(digest.data()), digest.size()}) + "'";
}

// What is between an opening tag and the next closing one.
std::string_view element(std::string_view page, std::string_view open, std::string_view close) {
  auto start = page.find(open);
  assert(start != std::string_view::npos);
  start += open.size();
  return page.substr(start, page.find(close, start) - start);
}

void put_number(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  out.push_back(static_cast<char>(value));
}

// Numbers what is used, so that the page holds no name of what it does not draw.
template <class Key>
class numbering {
public:
  std::uint64_t operator()(Key key) {
    auto [place, added] = places_.try_emplace(key, places_.size());
    if (added)
      keys_.push_back(key);
    return place->second;
  }
  const std::vector<Key>& keys() const { return keys_; }

private:
  std::map<Key, std::uint64_t> places_;
  std::vector<Key> keys_;
};

// Sent, arrived, lost and handled messages of one type, over the whole trace.
struct counts {
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;
  std::uint64_t lost = 0;
  std::uint64_t handled = 0;
};

nlohmann::json count_messages(const trace& what) {
  std::map<std::string_view, counts> by_type;
  for (auto& x : what.records) {
    if (x.message == text_id{})
      continue;
    auto& count = by_type[what.text(x.message)];
    count.sent += x.kind == event_kind::send;
    count.arrived += x.kind == event_kind::arrive;
    count.lost += x.kind == event_kind::drop;
    count.handled += x.kind == event_kind::step;
  }
  auto result = nlohmann::json::array();
  for (auto& [name, count] : by_type)
    result.push_back({name, count.sent, count.arrived, count.lost, count.handled});
  return result;
}

// 53 bits are all that a number of JavaScript holds; seeds and hashes are texts.
nlohmann::json facts_of(const trace& what, std::size_t first, std::size_t last) {
  nlohmann::json facts;
  facts["scenario"] = what.scenario;
  facts["seed"] = std::to_string(what.seed);
  facts["build"] = what.build;
  facts["hash"] = fmt::format("{:016x}", what.hash);
  facts["total"] = what.records.size();
  facts["embedded"] = last - first;
  auto& all = what.records;
  facts["begin"] = all.empty() ? 0 : all.front().at.count();
  facts["end"] = all.empty() ? 0 : all.back().at.count();
  facts["machines"] = nlohmann::json::array();
  for (auto& machine : what.machines)
    facts["machines"].push_back({machine.name, machine.role, machine.zone});
  facts["failures"] = nlohmann::json::array();
  for (auto& failure : what.failures)
    facts["failures"].push_back({failure.number, failure.at.count(), failure.check, failure.text});
  facts["messages"] = count_messages(what);
  facts["kinds"] = nlohmann::json::array();
  for (auto i = 0; i < static_cast<int>(event_kind::count_); ++i)
    facts["kinds"].push_back(to_string(static_cast<event_kind>(i)));
  return facts;
}

void replace_once(std::string& page, std::string_view mark, std::string_view text) {
  auto at = page.find(mark);
  assert(at != std::string::npos);
  page.replace(at, mark.size(), text);
}

} // namespace

std::string space_time_page(const trace& what, const space_time_options& options) {
  auto& all = what.records;
  auto at_least = [](const trace_record& x, instant at) { return x.at < at; };
  auto place = [&](instant at) {
    return static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), at, at_least) - all.begin());
  };
  auto last = place(options.until);
  auto first = std::min(place(options.from), last);
  first = std::max(first, last - std::min(last, options.events_max));
  numbering<std::uint64_t> actors;
  numbering<text_id> texts;
  actors(0);
  texts(text_id{});
  std::string events;
  trace_record before;
  for (auto i = first; i < last; ++i) {
    auto& x = all[i];
    put_number(events, static_cast<std::uint64_t>(x.kind));
    put_number(events, x.number - before.number);
    put_number(events, x.cause == 0 ? 0 : x.number - x.cause);
    put_number(events, static_cast<std::uint64_t>((x.at - before.at).count()));
    put_number(events, static_cast<std::uint64_t>(x.machine));
    put_number(events, static_cast<std::uint64_t>(x.peer));
    put_number(events, actors(x.actor));
    put_number(events, actors(x.sender));
    put_number(events, texts(x.message));
    put_number(events, texts(x.text));
    before = x;
  }
  auto facts = facts_of(what, first, last);
  facts["actors"] = nlohmann::json::array();
  for (auto actor : actors.keys())
    facts["actors"].push_back(what.actor_name(actor));
  facts["texts"] = nlohmann::json::array();
  for (auto id : texts.keys())
    facts["texts"].push_back(what.text(id));
  // Logs may hold bytes that are no text, and "</script>".
  auto json = facts.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(json.size());
  for (auto c : json) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  std::string page{space_time_template};
  auto policy = fmt::format("default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
                            policy_hash(element(page, "<script>", "</script>")),
                            policy_hash(element(page, "<style>", "</style>")));
  replace_once(page, "@POLICY@", policy);
  replace_once(page, "@EVENTS@", base64(events));
  replace_once(page, "@FACTS@", safe);
  return page;
}

} // namespace astra::sim
