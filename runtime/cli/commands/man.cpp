#include "runtime/cli/commands/man.hpp"

#include "config/spelling.hpp"
#include "runtime/cli/explanations.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <system_error>

// man(7), the macros that every system has.  Each sentence begins on a new line, as man's own checkers want it.

namespace astra {
namespace {

/// Of what is the same in all pages.  Not the day on which they are made: equal sources make equal pages.
constexpr std::string_view pages_of = "2026-11-28";
constexpr std::string_view version = ASTRA_VERSION;
constexpr std::size_t line_width = 78;

/// As it is to be seen: `dashes` for what somebody types, where "-" must not become a hyphen.
std::string escaped(std::string_view text, bool dashes) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto c = text[i];
    auto begins_word = i == 0 || text[i - 1] == ' ' || text[i - 1] == '\'' || text[i - 1] == '-' || text[i - 1] == '(';
    if (c == '\\')
      out += "\\e";
    else if (c == '-' && (dashes || begins_word))
      out += "\\-";
    else if (c == '\'' && dashes)
      out += "\\(aq";
    else if ((c == '~' || c == '^' || c == '`') && dashes)
      out += c == '~' ? "\\(ti" : c == '^' ? "\\(ha" : "\\(ga";
    else
      out += c;
  }
  // A dot or quote in front would be a macro.
  if (!out.empty() && (out.front() == '.' || out.front() == '\''))
    out.insert(0, "\\&");
  return out;
}

std::string typed(std::string_view text) {
  return escaped(text, true);
}

/// Sentences as lines, broken between words.
std::string prose(std::string_view text) {
  std::string out;
  std::string line;
  auto flush = [&] {
    if (!line.empty())
      out += escaped(line, false) + "\n";
    line.clear();
  };
  while (!text.empty()) {
    auto length = std::min(text.find(' '), text.size());
    auto word = text.substr(0, length);
    text.remove_prefix(std::min(text.size(), length + 1));
    if (word.empty())
      continue;
    if (escaped(line, false).size() + 1 + escaped(word, false).size() > line_width)
      flush();
    line += (line.empty() ? "" : " ") + std::string{word};
    if (word.ends_with('.') || word.ends_with('?') || word.ends_with('!'))
      flush();
  }
  flush();
  return out;
}

std::string sentence(std::string_view text) {
  auto ended = text.ends_with('.') || text.ends_with('?') || text.ends_with('!') || text.empty();
  return prose(std::string{text} + (ended ? "" : "."));
}

std::string value_of(const command_option& option) {
  if (option.value.empty())
    return {};
  if (option.value_optional)
    return fmt::format("[=\\fI{}\\fR]", typed(option.value.substr(1, option.value.size() - 2)));
  return fmt::format(" \\fI{}\\fR", typed(option.value));
}

std::string entry(const command_option& option) {
  std::string names;
  for (const auto& name : option.names)
    names += fmt::format("{}\\fB{}\\fR", names.empty() ? "" : ", ", typed(name));
  auto out = fmt::format(".TP\n{}{}\n{}", names, value_of(option), sentence(option.help));
  if (!option.choices.empty() && option.help.find(option.choices.front()) == std::string::npos)
    out += sentence(fmt::format("There are {}", fmt::join(option.choices, ", ")));
  return out;
}

std::string argument_in_synopsis(const command_argument& argument) {
  auto text = fmt::format("\\fI{}\\fR{}", typed(argument.name), argument.many ? "..." : "");
  return argument.required ? text : "[" + text + "]";
}

void for_each(const command_node& node, const std::function<void(const command_node&)>& what) {
  what(node);
  for (const auto& below : node.below)
    for_each(below, what);
}

const command_node* parent_of(const command_node& root, const command_node& command) {
  const command_node* result = nullptr;
  for_each(root, [&](const auto& node) {
    for (const auto& below : node.below)
      if (&below == &command)
        result = &node;
  });
  return result;
}

std::string whole_name(const command_node& command) {
  return command.path.empty() ? "astra" : "astra " + command.path;
}

std::string see_also(const command_node& root, const command_node& command) {
  std::vector<std::string> names;
  auto add = [&](const command_node& node) {
    if (&node != &command)
      names.push_back(manual_name(node));
  };
  add(root);
  if (const auto* parent = parent_of(root, command); parent != nullptr && parent != &root) {
    add(*parent);
    for (const auto& sibling : parent->below)
      add(sibling);
  }
  for (const auto& below : command.below)
    add(below);
  std::sort(names.begin(), names.end());
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i)
    out += fmt::format(".BR {} (1){}\n", typed(names[i]), i + 1 < names.size() ? "," : "");
  return out;
}

constexpr std::string_view environment_section = R"(.SH ENVIRONMENT
.TP
.B ASTRA_GATEWAY
The gateway to ask, where
.B \-\-gateway
does not name one.
.TP
.BR ASTRA_CERT ", " ASTRA_KEY ", " ASTRA_CA
Files for https://, where
.BR \-\-cert ", " \-\-key " and " \-\-ca
do not name them.
.TP
.B NO_COLOR
No colours, when it is not empty.
)";

} // namespace

const command_text man_text = {
    "Print the manual page of a command, or write all of them",
    "The pages are made of what the command line knows of itself, as source for man.",
    "astra man app apply | man -l -\nastra man --all /usr/local/share/man/man1",
};

std::string manual_name(const command_node& command) {
  auto name = whole_name(command);
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

std::string manual_page(const command_node& root, const command_node& command) {
  auto title = manual_name(command);
  std::transform(title.begin(), title.end(), title.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  auto is_root = &root == &command;
  std::string_view summary = is_root ? "run apps on unstable machines as one cluster" : command.summary;
  auto out = fmt::format(".TH {} 1 \"{}\" \"Astra {}\" \"Astra manual\"\n.SH NAME\n", title, pages_of, version);
  auto name = fmt::format("{} \\- {}", typed(manual_name(command)), escaped(summary, false));
  if (name.size() > line_width)
    name[name.rfind(' ', line_width)] = '\n';
  out += name + "\n";
  out += fmt::format(".SH SYNOPSIS\n.B {}\n", typed(whole_name(command)));
  if (!command.below.empty())
    out += "\\fICOMMAND\\fR\n";
  for (const auto& option : command.options)
    if (option.required && !is_root)
      out += fmt::format("\\fB{}\\fR{}\n", typed(option.names.front()), value_of(option));
  for (const auto& argument : command.arguments)
    out += argument_in_synopsis(argument) + "\n";
  out += "[\\fIoptions\\fR]\n.SH DESCRIPTION\n";
  out += sentence(is_root ? "Astra runs apps on unstable machines as one cluster" : command.summary);
  out += prose(command.details);
  if (!command.below.empty()) {
    out += ".SH COMMANDS\n";
    for (const auto& below : command.below)
      for_each(below, [&](const command_node& node) {
        if (node.below.empty())
          out += fmt::format(".TP\n.B {}\n{}", typed(whole_name(node)), sentence(node.summary));
      });
  }
  out += ".SH OPTIONS\n";
  for (const auto& argument : command.arguments) {
    out += fmt::format(".TP\n.I {}\n{}", typed(argument.name), sentence(argument.help));
    if (!argument.choices.empty())
      out += sentence(fmt::format("There are {}", fmt::join(argument.choices, ", ")));
  }
  if (!is_root)
    for (const auto& option : command.options)
      out += entry(option);
  auto own = !is_root && !(command.options.empty() && command.arguments.empty());
  if (own)
    out += ".SS Options of every command\n";
  for (const auto& option : root.options)
    out += entry(option);
  if (is_root)
    out += environment_section;
  if (auto examples = command.examples; !examples.empty() || is_root) {
    if (is_root)
      examples = "astra dev --nodes 3\nastra status\nastra app apply app.toml --wait\nastra cheat";
    out += ".SH EXAMPLES\n.EX\n";
    while (!examples.empty()) {
      auto line = examples.substr(0, examples.find('\n'));
      examples.remove_prefix(std::min(examples.size(), line.size() + 1));
      out += typed(line) + "\n";
    }
    out += ".EE\n";
  }
  out += ".SH EXIT STATUS\n";
  for (const auto& row : explanations())
    if (row.topic == exit_code_topic)
      out += fmt::format(".TP\n.B {}\n{}", row.word, sentence(row.meaning));
  return out + ".SH SEE ALSO\n" + see_also(root, command);
}

int write_manual(command_context& context, const command_node& root, const man_options& options) {
  if (!options.directory.empty() && !options.words.empty())
    return context.fail(exit_usage, "--all writes every page; name no command with it");
  if (options.directory.empty()) {
    const auto* command = &root;
    for (const auto& word : options.words) {
      const auto* below = command->find(word);
      if (below == nullptr) {
        std::vector<std::string> known;
        for (const auto& one : command->below)
          known.push_back(one.name);
        auto meant = closest(word, known);
        return context.fail(exit_usage, fmt::format("no command '{}'{}", printable(word),
                                                    meant ? fmt::format("; did you mean '{}'?", *meant) : ""));
      }
      command = below;
    }
    context.out() << manual_page(root, *command);
    return exit_ok;
  }
  std::error_code problem;
  std::filesystem::create_directories(options.directory, problem);
  if (problem)
    return context.fail(exit_failed, fmt::format("cannot make {}: {}", options.directory, problem.message()));
  std::size_t written = 0;
  std::string failed;
  for_each(root, [&](const command_node& node) {
    auto path = std::filesystem::path{options.directory} / (manual_name(node) + ".1");
    std::ofstream file{path, std::ios::binary | std::ios::trunc};
    file << manual_page(root, node);
    file.close();
    if (!file && failed.empty())
      failed = fmt::format("cannot write {}: {}", path.string(), std::strerror(errno));
    ++written;
  });
  if (!failed.empty())
    return context.fail(exit_failed, failed);
  context.say(fmt::format("wrote {} to {}", counted(written, "page"), options.directory));
  return exit_ok;
}

} // namespace astra
