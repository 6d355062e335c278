#include "runtime/cli/commands/completion.hpp"

#include "runtime/cli/explanations.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <ostream>
#include <set>

// The scripts hold no command: they ask the program, so that one that is newer completes what is new.  Of what it
// offers, a word that ends in "/", "=" or "@" is not complete, and no blank follows it.

namespace astra {

// Files of completion/, in the program by embed_text.cmake.
extern const std::string_view bash_completion, zsh_completion, fish_completion;

namespace {

using namespace std::chrono_literals;

/// More than anybody reads; a larger cluster shows what its first ones begin with.
constexpr int names_max = 500;

/// Where the last word of a line stands.
struct position {
  const command_node* at = nullptr;
  /// Arguments of `at` before it.
  std::vector<std::string> arguments;
  /// The option whose value it is.
  const command_option* value_of = nullptr;
  /// Behind "--": no option.
  bool only_arguments = false;
  /// Options that are there already.
  std::set<const command_option*> used;
  /// With the values that they have.
  std::vector<std::pair<const command_option*, std::string>> values;
};

class line_walk {
public:
  explicit line_walk(const command_node& root) : levels_{&root} {}

  const command_option* find(std::string_view name) const {
    for (auto level = levels_.rbegin(); level != levels_.rend(); ++level)
      for (const auto& option : (*level)->options)
        if (std::find(option.names.begin(), option.names.end(), name) != option.names.end())
          return &option;
    return nullptr;
  }

  const std::vector<const command_node*>& levels() const { return levels_; }

  position walk(const std::vector<std::string>& words) {
    position result;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
      const auto& word = words[i];
      if (result.value_of != nullptr) {
        result.values.emplace_back(result.value_of, word);
        result.value_of = nullptr;
      } else if (!result.only_arguments && word == "--") {
        result.only_arguments = true;
      } else if (!result.only_arguments && word.size() > 1 && word.front() == '-') {
        auto equals = word.find('=');
        const auto* option = find(std::string_view{word}.substr(0, equals));
        result.used.insert(option);
        if (option == nullptr || option->value.empty())
          continue;
        if (equals != std::string::npos)
          result.values.emplace_back(option, word.substr(equals + 1));
        else if (!option->value_optional)
          result.value_of = option;
      } else if (const auto* below = levels_.back()->find(word); below != nullptr && result.arguments.empty()) {
        levels_.push_back(below);
      } else {
        result.arguments.push_back(word);
      }
    }
    result.at = levels_.back();
    return result;
  }

private:
  std::vector<const command_node*> levels_;
};

class completer {
public:
  completer(const command_node& root, const live_names& names) : root_(root), names_(names) {}

  completion run(const std::vector<std::string>& words) {
    line_walk line{root_};
    auto place = line.walk(words);
    const auto word = words.empty() ? std::string{} : words.back();
    if (place.value_of != nullptr) {
      offer_values(place.value_of->kind, place.value_of->choices, place.value_of->value, word, "");
      return std::move(result_);
    }
    if (!place.only_arguments && word.starts_with('-')) {
      if (auto equals = word.find('='); equals != std::string::npos) {
        if (const auto* option = line.find(std::string_view{word}.substr(0, equals));
            option != nullptr && !option->value.empty())
          offer_values(option->kind, option->choices, option->value, word.substr(equals + 1),
                       word.substr(0, equals + 1));
        return std::move(result_);
      }
      offer_options(line, place, word);
      return std::move(result_);
    }
    if (place.arguments.empty())
      for (const auto& below : place.at->below)
        offer(below.name, below.summary, word);
    if (const auto* argument = next_argument(place); argument != nullptr) {
      if (argument->kind == value_kind::command)
        offer_commands(place.arguments, word);
      else
        offer_values(argument->kind, argument->choices, argument->name, word, "");
    }
    // Where nothing but options can follow.
    if (place.at->below.empty() && next_argument(place) == nullptr && word.empty() && !place.only_arguments)
      offer_options(line, place, "--");
    return std::move(result_);
  }

private:
  static const command_argument* next_argument(const position& place) {
    const auto& arguments = place.at->arguments;
    auto index = place.arguments.size();
    if (index < arguments.size())
      return &arguments[index];
    return !arguments.empty() && arguments.back().many ? &arguments.back() : nullptr;
  }

  void offer(std::string word, std::string_view help, std::string_view start) {
    if (word.starts_with(start))
      result_.candidates.push_back({std::move(word), std::string{help}});
  }

  void offer_options(const line_walk& line, const position& place, std::string_view start) {
    for (auto level = line.levels().rbegin(); level != line.levels().rend(); ++level)
      for (const auto& option : (*level)->options) {
        if (place.used.count(&option) != 0 && !option.repeatable)
          continue;
        // The long name, where there is one, says more.
        auto name = option.names.back();
        if (start.size() > 1 && start[1] != '-')
          name = option.names.front();
        offer(name, option.help, start);
      }
  }

  void offer_commands(const std::vector<std::string>& before, std::string_view start) {
    const auto* at = &root_;
    for (const auto& word : before)
      if (at = at->find(word); at == nullptr)
        return;
    for (const auto& below : at->below)
      offer(below.name, below.summary, start);
  }

  void offer_values(value_kind kind, const std::vector<std::string>& choices, std::string_view value,
                    std::string_view start, const std::string& before) {
    if (!choices.empty()) {
      // "a,b,c": of the last one.
      auto comma = value.find(",") != std::string_view::npos ? start.rfind(',') : std::string_view::npos;
      auto kept = comma == std::string_view::npos ? std::string{} : std::string{start.substr(0, comma + 1)};
      for (const auto& choice : choices)
        offer(before + kept + choice, "", before + std::string{start});
      return;
    }
    auto live = [&](value_kind what, const std::string& prefix) {
      if (!names_ || !start.starts_with(prefix))
        return;
      for (auto& name : names_(what, start.substr(prefix.size())))
        offer(before + prefix + name.word, name.help, before + std::string{start});
    };
    auto targets = [&](std::initializer_list<std::pair<std::string, value_kind>> kinds) {
      if (start.find('/') == std::string_view::npos) {
        for (const auto& [prefix, what] : kinds)
          offer(before + prefix, "", before + std::string{start});
        return;
      }
      for (const auto& [prefix, what] : kinds)
        live(what, prefix);
    };
    switch (kind) {
    case value_kind::any:
      break;
    case value_kind::file:
      result_.files = true;
      break;
    case value_kind::directory:
      result_.directories = true;
      break;
    case value_kind::app_or_file:
      live(value_kind::app, "");
      result_.files = true;
      break;
    case value_kind::why_target:
      targets({{"app/", value_kind::app}, {"node/", value_kind::node}, {"replica/", value_kind::app}});
      // Its number follows.
      if (start.starts_with("replica/"))
        for (auto& candidate : result_.candidates)
          candidate.word += '/';
      break;
    case value_kind::wait_target:
      targets({{"app/", value_kind::app},
               {"node/", value_kind::node},
               {"model/", value_kind::model},
               {"task/", value_kind::task}});
      break;
    case value_kind::code:
      for (const auto& word : explained_words())
        offer(before + word, "", before + std::string{start});
      break;
    case value_kind::command:
      offer_commands({}, start);
      break;
    case value_kind::node:
    case value_kind::app:
    case value_kind::model:
    case value_kind::model_name:
    case value_kind::task:
      live(kind, "");
      break;
    }
  }

  const command_node& root_;
  const live_names& names_;
  completion result_;
};

/// Where the gateway lists things of a kind.
std::string listing_of(value_kind kind) {
  switch (kind) {
  case value_kind::node:
    return fmt::format("/v1/nodes?limit={}", names_max);
  case value_kind::app:
    return "/v1/apps";
  case value_kind::model:
  case value_kind::model_name:
    return "/v1/models";
  case value_kind::task:
    return "/v1/tasks?limit=50";
  default:
    return {};
  }
}

std::vector<completion::candidate> names_in(const json& answer, value_kind kind) {
  std::vector<completion::candidate> result;
  for (auto [key, name] :
       {std::pair{"nodes", "name"}, std::pair{"apps", "name"}, std::pair{"models", "name"}, std::pair{"tasks", "id"}})
    for (const auto& entry : list_in(answer, key)) {
      auto word = text_in(entry, name);
      if (kind == value_kind::model)
        word += fmt::format("@{}", count_in(entry, "version"));
      // What a terminal would act on no script may hand to it.
      if (word.empty() || word.find_first_of(" \t\n") != std::string::npos || printable(word) != word)
        continue;
      auto help = printable(text_in(entry, "state"));
      if (auto app = printable(text_in(entry, "app")); !app.empty())
        help = app + ", " + help;
      auto known = std::any_of(result.begin(), result.end(), [&](const auto& one) { return one.word == word; });
      if (!known)
        result.push_back({std::move(word), std::move(help)});
    }
  return result;
}

} // namespace

const command_text completion_text = {
    "Print what has a shell complete astra's commands",
    "It completes commands, options, their values, files, and the names of apps, nodes, models and tasks, for which it "
    "asks the gateway, 300 ms at most. It needs no other package.",
    "source <(astra completion bash)\nastra completion bash > ~/.local/share/bash-completion/completions/astra\n"
    "astra completion fish > ~/.config/fish/completions/astra.fish",
};

const std::vector<std::string>& completion_shells() {
  static const std::vector<std::string> shells = {"bash", "zsh", "fish"};
  return shells;
}

int print_completion(command_context& context, const std::string& shell) {
  context.out() << (shell == "bash" ? bash_completion : shell == "zsh" ? zsh_completion : fish_completion);
  return exit_ok;
}

completion complete(const command_node& root, const std::vector<std::string>& words, const live_names& names) {
  return completer{root, names}.run(words);
}

std::vector<std::pair<std::string, std::string>> root_options_in(const command_node& root,
                                                                 const std::vector<std::string>& words) {
  line_walk line{root};
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto& [option, value] : line.walk(words).values)
    for (const auto& own : root.options)
      if (&own == option)
        result.emplace_back(own.names.back(), value);
  return result;
}

live_names names_of_gateway(command_context& context) {
  auto until = context.environment.now() + completion_patience;
  return [&context, until](value_kind kind, std::string_view) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - context.environment.now());
    auto target = listing_of(kind);
    if (left <= 0ms || target.empty())
      return std::vector<completion::candidate>{};
    context.options.timeout = left;
    auto answer = context.ask("GET", target);
    return answer ? names_in(*answer, kind) : std::vector<completion::candidate>{};
  };
}

int print_candidates(command_context& context, const completion& found) {
  auto& out = context.out();
  for (const auto& candidate : found.candidates)
    out << candidate.word << (candidate.help.empty() ? "" : "\t") << candidate.help << '\n';
  if (found.files)
    out << ":file\n";
  if (found.directories)
    out << ":directory\n";
  return exit_ok;
}

} // namespace astra
