#include "runtime/shell/session_record.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace astra::shell {
namespace {

template <class Visit>
void visit_value(value& what, Visit& visit) {
  if (what.what == value::kind::reference)
    visit(what.source);
  for (auto& part : what.pieces)
    if (part.inserted)
      visit(*part.inserted);
}

template <class Visit>
void visit_condition(condition& what, Visit& visit) {
  for (auto& part : what.parts)
    visit_condition(part, visit);
  if (what.what != condition::kind::test)
    return;
  if (what.operand.sigil != 0)
    visit(what.operand);
  for (auto& one : what.values)
    visit_value(one, visit);
}

/// Calls `visit` with every reference to a result, a variable or an app.
template <class Visit>
void visit_references(statement& what, Visit& visit) {
  if (what.source_call)
    for (auto& one : what.source_call->arguments)
      visit_value(one.what, visit);
  if (what.source_value)
    visit(*what.source_value);
  for (auto& stage : what.stages)
    if (stage.what == stage::kind::where)
      visit_condition(stage.filter, visit);
  if (what.what == statement::kind::loop) {
    visit_value(what.from, visit);
    visit_value(what.to, visit);
  }
  if (what.what == statement::kind::await)
    visit_value(what.awaited, visit);
  if (what.what == statement::kind::expect)
    visit_condition(what.expected, visit);
  for (auto& inner : what.body)
    visit_references(inner, visit);
}

bool is_number(const std::string& name) {
  return !name.empty() && name.front() >= '0' && name.front() <= '9';
}

/// What belongs to the session rather than to what it does.
bool is_of_session(const statement& what) {
  if (!what.source_call)
    return false;
  auto& verb = what.source_call->verb;
  return verb.starts_with(':') || verb == "help" || verb == "quit" || verb == "exit";
}

/// It would go on for ever where nobody presses ^C.
bool is_endless(const statement& what) {
  return (what.what == statement::kind::every && !what.times)
         || std::any_of(what.body.begin(), what.body.end(), is_endless);
}

/// An expect leaves `$` as it is.
bool sets_last(const statement& what) {
  return what.what != statement::kind::expect;
}

std::string as_comment(const std::string& text) {
  std::string result;
  for (std::size_t begin = 0; begin <= text.size();) {
    auto end = std::min(text.find('\n', begin), text.size());
    result += "# " + text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  return result;
}

} // namespace

std::set<std::string> session_record::names_made(const statement& what) {
  std::set<std::string> result;
  if (!what.bind.empty())
    result.insert(what.bind);
  if (what.what == statement::kind::loop)
    result.insert(what.variable);
  for (auto& inner : what.body)
    result.merge(names_made(inner));
  return result;
}

void session_record::look_up(entry& one) const {
  auto own = one.what.body.empty() ? std::set<std::string>{} : names_made(one.what);
  auto visit = [&](const reference& what) {
    if (what.name.empty()) {
      // In a block it is the result of the statement before, as a rule.
      one.uses_last |= one.what.body.empty();
    } else if (what.sigil == '$' && is_number(what.name)) {
      std::uint64_t number = 0;
      std::from_chars(what.name.data(), what.name.data() + what.name.size(), number);
      for (auto& earlier : kept_)
        if (earlier->number == number && number != 0)
          one.results[what.name] = earlier;
    } else if (auto maker = makers_.find(what.name); maker != makers_.end() && own.count(what.name) == 0) {
      one.uses[what.name] = maker->second;
    }
  };
  visit_references(one.what, visit);
}

void session_record::note(const statement& what, const std::string& failure) {
  auto one = std::make_shared<entry>();
  one->what = what;
  if (!failure.empty()) {
    if (out_ && !is_of_session(what))
      *out_ << as_comment("failed: " + to_text(what) + "\n  " + failure) << std::flush;
    return;
  }
  look_up(*one);
  one->before = last_;
  if (what.what == statement::kind::pipeline)
    one->number = ++results_seen_;
  if (sets_last(what))
    last_ = one;
  for (auto& name : names_made(what))
    makers_[name] = one;
  // Older ones are only kept by whoever refers to them.
  if (!one->uses_last)
    one->before = nullptr;
  kept_.push_back(one);
  if (kept_.size() > kept_max)
    kept_.pop_front();
  if (!out_ || is_of_session(what))
    return;
  if (is_endless(what)) {
    *out_ << as_comment("goes on until ^C: " + to_text(what)) << std::flush;
    return;
  }
  write(one);
  out_->flush();
}

void session_record::write(const entry_ptr& one) {
  for (auto& [name, maker] : one->uses) {
    auto there = makers_there_.find(name);
    if ((there == makers_there_.end() || there->second != maker) && maker != one)
      write(maker);
  }
  for (auto& [name, made] : one->results)
    if (made->number_there == 0)
      write(made);
  auto text = one->what;
  auto last_by_number = false;
  if (one->uses_last && one->before && one->before != last_there_) {
    // What came in between is not in the script, or came before it there.
    if (one->before->number != 0) {
      if (one->before->number_there == 0)
        write(one->before);
      last_by_number = one->before != last_there_;
    } else {
      write(one->before);
    }
  }
  auto renumber = [&](reference& what) {
    if (what.sigil != '$')
      return;
    if (what.name.empty() && last_by_number)
      what.name = std::to_string(one->before->number_there);
    else if (auto made = one->results.find(what.name); made != one->results.end())
      what.name = std::to_string(made->second->number_there);
  };
  visit_references(text, renumber);
  *out_ << to_text(text) << '\n';
  ++written_;
  if (one->number != 0)
    one->number_there = ++results_there_;
  for (auto& name : names_made(one->what))
    makers_there_[name] = one;
  if (sets_last(one->what))
    last_there_ = one;
}

caf::error session_record::start(const std::string& path) {
  if (out_)
    return caf::make_error(errc::conflict, fmt::format("{} is being recorded; end it with :record stop", path_));
  // Never over a file that is there.
  auto fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 && errno == EEXIST)
    return caf::make_error(errc::conflict, fmt::format("{} is there already; name a new file", path));
  if (fd < 0)
    return caf::make_error(errc::io_failed, fmt::format("{}: {}", path, std::strerror(errno)));
  ::close(fd);
  auto out = std::make_unique<std::ofstream>(path, std::ios::app);
  *out << "# Recorded in astra shell.  Runs with astra shell --rw REASON -f, astra dev -f and astra sim run.\n"
       << std::flush;
  if (!*out)
    return caf::make_error(errc::io_failed, fmt::format("{}: cannot be written", path));
  out_ = std::move(out);
  path_ = path;
  written_ = results_there_ = 0;
  makers_there_.clear();
  last_there_ = nullptr;
  for (auto& one : kept_)
    one->number_there = 0;
  return {};
}

caf::error session_record::stop() {
  if (!out_)
    return caf::make_error(errc::invalid_argument, "nothing is recorded; begin with :record FILE");
  out_->close();
  auto good = !out_->fail();
  out_ = nullptr;
  return good ? caf::error{} : caf::make_error(errc::io_failed, fmt::format("{}: not all of it was written", path_));
}

} // namespace astra::shell
