#include "runtime/cli/commands/claims.hpp"

#include "actors/scheduler/claim_chain.hpp"
#include "messages/wire/control.pb.h"
#include "runtime/claim_files.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace astra {
namespace {

std::uint64_t from_hex(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 16);
}

std::string bytes_from_hex(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    result += static_cast<char>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16));
  return result;
}

/// "no_room" as CLAIM_NO_ROOM.
std::string enum_name(const char* prefix, std::string name) {
  for (auto& letter : name)
    letter = static_cast<char>(letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter);
  return prefix + name;
}

/// All 64 bits of a number.
std::uint64_t exact(const json& entry, const char* key) {
  auto found = entry.find(key);
  return found != entry.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

/// The record that was hashed, from what the gateway says of it.
pb::ClaimRecord record_of(const json& entry) {
  pb::ClaimRecord result;
  result.set_number(exact(entry, "number"));
  result.set_wall_ms(exact(entry, "wall_ms"));
  result.set_epoch(exact(entry, "epoch"));
  auto action = pb::CLAIM_ACTION_UNKNOWN;
  pb::ClaimAction_Parse(enum_name("CLAIM_ACTION_", text_in(entry, "action")), &action);
  result.set_action(action);
  result.set_token(from_hex(text_in(entry, "token")));
  result.set_replica_index(static_cast<std::uint32_t>(exact(entry, "replica")));
  result.set_node(from_hex(text_in(entry, "node_id")));
  result.set_node_name(text_in(entry, "node"));
  result.set_origin(from_hex(text_in(entry, "resource_id")));
  result.set_view_version(exact(entry, "view_version"));
  result.set_view_age_ms(exact(entry, "view_age_ms"));
  auto outcome = pb::CLAIM_UNKNOWN;
  pb::ClaimOutcome_Parse(enum_name("CLAIM_", text_in(entry, "outcome")), &outcome);
  result.set_outcome(outcome);
  result.set_reason(text_in(entry, "reason"));
  result.set_hash(bytes_from_hex(text_in(entry, "hash")));
  return result;
}

/// The gateway's own limit for one answer.
constexpr std::size_t records_page = 1000;
/// Without --limit, where nothing asks for all.
constexpr std::size_t records_usual = 100;

void report(command_context& context, const std::string& what, const claim_checker& checker) {
  auto hash = to_hex_text(checker.hash());
  if (context.options.format == output_format::json) {
    context.out() << pretty(json{{"what", what},
                                 {"records", checker.count()},
                                 {"first", checker.first()},
                                 {"last", checker.last()},
                                 {"gaps", checker.gaps()},
                                 {"hash", hash}});
    return;
  }
  context.out() << printable(what)
                << (checker.count() == 0
                        ? std::string{": no records\n"}
                        : fmt::format(
                            ": {} {}, {} to {}, unbroken{}; the last hash is {}\n", checker.count(),
                            checker.count() == 1 ? "record" : "records", checker.first(), checker.last(),
                            checker.gaps() == 0 ? "" : fmt::format(", {} marked as incomplete", checker.gaps()), hash));
}

int verify_app(command_context& context, const std::string& app) {
  claim_checker checker;
  for (std::uint64_t from = 1;;) {
    auto page = context.ask("GET", fmt::format("/v1/apps/{}/claims?from={}&limit=1000", percent_encoded(app), from));
    if (!page)
      return context.fail(page.error());
    for (const auto& entry : list_in(*page, "records"))
      if (auto problem = checker.next(record_of(entry)); !problem.empty())
        return context.fail(exit_failed, fmt::format("{}: {}", app, problem));
    if (list_in(*page, "records").empty() || checker.last() >= count_in(*page, "last"))
      break;
    from = checker.last() + 1;
  }
  report(context, app, checker);
  return exit_ok;
}

} // namespace

const command_text claims_text = {"Look at what schedulers claimed, and check that nobody has changed it", {}, {}};

const command_text claims_log_text = {
    "List the claims of an app with their outcomes, and its releases",
    "Each record tells which version of the Resource's shard was seen, and how old that was.  With --where and --sort "
    "all "
    "that are kept are looked at, else the last 100, or as many as --limit says.",
    "astra claims log ocr\nastra claims log ocr --from 1 --limit 50\nastra claims log ocr --where 'outcome != "
    "confirmed'",
};

const command_text claims_verify_text = {
    "Check the chain of hashes of a claim log",
    "Prints the number of records and the last hash, or names the first record that is broken and ends with an error. "
    "What contains a slash or is there as a file is a file (claims/APP.log in the state_dir of the scheduler process), "
    "anything else an app.",
    "astra claims verify ocr\nastra claims verify claims/ocr.log.1 claims/ocr.log",
};

const listing& claim_listing() {
  static const listing what{"records",
                            "record",
                            "number",
                            {"number", "when", "wall_ms", "epoch", "action", "replica", "token", "node", "node_id",
                             "resource_id", "view_version", "view_age_ms", "outcome", "reason", "hash"},
                            render_claims};
  return what;
}

int show_claims(command_context& context, const claims_options& options, const list_options& list) {
  auto path = "/v1/apps/" + percent_encoded(options.app) + "/claims";
  auto page_from = [&](std::uint64_t from, std::size_t limit) {
    return context.ask("GET", from != 0 ? fmt::format("{}?limit={}&from={}", path, limit, from)
                                        : fmt::format("{}?limit={}", path, limit));
  };
  auto what = claim_listing();
  what.keeps_last = !options.from;
  return print_list(context, what, list, [&]() -> caf::expected<json> {
    // What is chosen or put in order here needs all of them, and the gateway hands out a page at a time.
    auto needs_all = !list.where.empty() || !list.sort.empty();
    if (!needs_all && list.limit <= records_page) {
      auto page = page_from(options.from.value_or(0), list.limit != 0 ? list.limit : records_usual);
      if (page && !list_in(*page, "records").empty()) {
        const auto& records = list_in(*page, "records");
        auto before = options.from ? 0 : exact(records.front(), "number") - 1;
        if (auto more = before + count_in(*page, "last") - exact(records.back(), "number"); more > 0)
          (*page)["more"] = more;
      }
      return page;
    }
    json all;
    for (std::uint64_t from = options.from.value_or(1);;) {
      auto page = page_from(from, records_page);
      if (!page)
        return page;
      const auto& records = list_in(*page, "records");
      auto ended = records.empty();
      auto last = ended ? 0 : exact(records.back(), "number");
      ended = ended || last >= count_in(*page, "last");
      if (all.is_null())
        all = std::move(*page);
      else
        for (const auto& record : records)
          all["records"].push_back(record);
      if (auto enough = options.from && !needs_all && list_in(all, "records").size() >= list.limit; enough && !ended)
        all["more"] = count_in(all, "last") - last;
      else if (!ended) {
        from = last + 1;
        continue;
      }
      return all;
    }
  });
}

int verify_claims(command_context& context, const claims_options& options) {
  claim_checker files;
  std::string names;
  for (const auto& what : options.what) {
    std::error_code ignored;
    if (what.find('/') == std::string::npos && !std::filesystem::exists(what, ignored)) {
      if (auto code = verify_app(context, what); code != exit_ok)
        return code;
      continue;
    }
    if (auto problem = check_claim_file(what, files); !problem.empty())
      return context.fail(exit_failed, fmt::format("{}: {}", what, problem));
    names += (names.empty() ? "" : " ") + what;
  }
  if (!names.empty())
    report(context, names, files);
  return exit_ok;
}

std::string render_claims(const json& answer, bool colour) {
  text_table table{{{"RECORD", align::right},
                    {"WHEN"},
                    {"ACTION"},
                    {"REPLICA", align::right},
                    {"NODE"},
                    {"VIEW", align::right},
                    {"AGE", align::right},
                    {"OUTCOME"},
                    {"REASON"}}};
  for (const auto& record : list_in(answer, "records")) {
    auto outcome = text_in(record, "outcome");
    auto gap = text_in(record, "action") == "unknown";
    table.add({std::to_string(count_in(record, "number")),
               text_in(record, "when"),
               {gap ? "gap" : text_in(record, "action"), gap ? tone::warning : tone::plain},
               gap ? "" : std::to_string(count_in(record, "replica")),
               text_in(record, "node"),
               gap ? "" : std::to_string(count_in(record, "view_version")),
               gap ? "" : fmt::format("{} ms", count_in(record, "view_age_ms")),
               {outcome, outcome.empty() || outcome == "confirmed" ? tone::plain : tone::warning},
               text_in(record, "reason")});
  }
  return table.empty() ? "no claims\n" : table.render(colour);
}

} // namespace astra
