#include "runtime/shell/line_editor.hpp"

#include <histedit.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <unistd.h>
#include <utility>

// The only translation unit that knows libedit.

namespace astra::shell {
namespace {

volatile std::sig_atomic_t interrupts = 0;

/// Lines as the kernel hands them out: its own line editing is all there is.
class plain_editor final : public line_editor {
public:
  typed_line read(const std::string& prompt) override {
    std::fputs(prompt.c_str(), stdout);
    std::fflush(stdout);
    for (;;) {
      if (auto end = pending_.find('\n'); end != std::string::npos) {
        typed_line result{line_end::complete, pending_.substr(0, end)};
        pending_.erase(0, end + 1);
        // The frame of what is pasted is no part of it.
        for (auto frame : {"\033[200~", "\033[201~"})
          for (auto at = result.text.find(frame); at != std::string::npos; at = result.text.find(frame))
            result.text.erase(at, std::string_view{frame}.size());
        if (result.text.ends_with('\r'))
          result.text.pop_back();
        return result;
      }
      pollfd ready{STDIN_FILENO, POLLIN, 0};
      char block[4096];
      ssize_t length = -1;
      // A ^C between the two is seen when poll() returns, at the latest a moment later.
      if (interrupts == 0 && ::poll(&ready, 1, 200) > 0)
        length = ::read(STDIN_FILENO, block, sizeof block);
      else if (interrupts == 0)
        continue;
      if (interrupts != 0) {
        pending_.clear();
        std::fputs("\n", stdout);
        return {line_end::interrupted, {}};
      }
      if (length < 0 && errno == EINTR)
        continue;
      if (length <= 0) {
        if (pending_.empty())
          return {line_end::closed, {}};
        return {line_end::complete, std::exchange(pending_, {})};
      }
      pending_.append(block, static_cast<std::size_t>(length));
    }
  }

  void remember(const std::string&) override {}

private:
  std::string pending_;
};

class libedit_editor final : public line_editor {
public:
  libedit_editor(const std::vector<std::string>& past, completer complete) : complete_(std::move(complete)) {
    editor_ = el_init("astra", stdin, stdout, stderr);
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, static_cast<int>(history_max));
    history(history_, &event, H_SETUNIQUE, 1);
    el_set(editor_, EL_CLIENTDATA, this);
    // Through "..." a lambda does not become the pointer that libedit wants by itself: +.
    el_set(
        editor_, EL_PROMPT, +[](EditLine* editor) { return self(editor).prompt_.data(); });
    el_set(editor_, EL_HIST, history, history_);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_SIGNAL, 0);
    // ^C is a key like any other while a line is typed, so that no signal can hit libedit in the middle of something.
    el_set(editor_, EL_SETTY, "-d", "-isig", nullptr);
    el_set(
        editor_, EL_ADDFN, "astra-complete", "completes a word",
        +[](EditLine* editor, int) -> unsigned char { return self(editor).on_tab(); });
    el_set(
        editor_, EL_ADDFN, "astra-cancel", "gives up the line",
        +[](EditLine* editor, int) -> unsigned char { return self(editor).on_cancel(); });
    el_set(
        editor_, EL_ADDFN, "astra-ignore", "does nothing", +[](EditLine*, int) -> unsigned char { return CC_NORM; });
    bind_keys_of_terminals();
    el_set(editor_, EL_BIND, "^I", "astra-complete", nullptr);
    el_set(editor_, EL_BIND, "^C", "astra-cancel", nullptr);
    el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    el_set(editor_, EL_BIND, "^W", "ed-delete-prev-word", nullptr);
    for (auto& entry : past)
      remember(entry);
  }

  ~libedit_editor() override {
    history_end(history_);
    el_end(editor_);
  }

  libedit_editor(const libedit_editor&) = delete;
  libedit_editor& operator=(const libedit_editor&) = delete;

  typed_line read(const std::string& prompt) override {
    prompt_ = prompt;
    cancelled_ = false;
    for (;;) {
      int length = 0;
      errno = 0;
      // Before the prompt is seen: libedit itself does it when it waits for the first key, and a ^D that came in
      // between would be the kernel's.
      el_set(editor_, EL_PREP_TERM, 1);
      const char* line = el_gets(editor_, &length);
      if (std::exchange(cancelled_, false))
        return {line_end::interrupted, {}};
      if (line == nullptr || length <= 0) {
        // A signal, such as that of a window that changes its size, is no end.
        if (errno == EINTR)
          continue;
        return {line_end::closed, {}};
      }
      std::string text{line, static_cast<std::size_t>(length)};
      while (text.ends_with('\n') || text.ends_with('\r'))
        text.pop_back();
      return {line_end::complete, std::move(text)};
    }
  }

  void remember(const std::string& entry) override {
    if (entry.find_first_not_of(" \t") == std::string::npos)
      return;
    HistEvent event;
    history(history_, &event, H_ENTER, (entry + "\n").c_str());
  }

private:
  static libedit_editor& self(EditLine* editor) {
    void* result = nullptr;
    el_get(editor, EL_CLIENTDATA, &result);
    return *static_cast<libedit_editor*>(result);
  }

  /// What terminals send for keys, whatever terminfo knows of them.  What nobody binds would leave its tail in the
  /// line.
  void bind_keys_of_terminals() {
    auto bind = [this](const std::string& keys, const char* command) {
      el_set(editor_, EL_BIND, keys.c_str(), command, nullptr);
    };
    // Insert, page up and down, F1 to F20, shift and tab; and the frame of what is pasted.
    for (auto number :
         {2, 5, 6, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 29, 31, 32, 33, 34, 200, 201})
      bind("\\e[" + std::to_string(number) + "~", "astra-ignore");
    for (auto letter : {"P", "Q", "R", "S"})
      bind(std::string{"\\eO"} + letter, "astra-ignore");
    bind("\\e[Z", "astra-ignore");
    for (auto number : {"1", "7"})
      bind(std::string{"\\e["} + number + "~", "ed-move-to-beg");
    for (auto number : {"4", "8"})
      bind(std::string{"\\e["} + number + "~", "ed-move-to-end");
    bind("\\e[3~", "ed-delete-next-char");
    // With shift, alt, control and all together.
    for (auto with = 2; with <= 8; ++with) {
      auto begin = "\\e[1;" + std::to_string(with);
      bind(begin + "A", "ed-prev-history");
      bind(begin + "B", "ed-next-history");
      bind(begin + "C", with == 2 ? "ed-next-char" : "em-next-word");
      bind(begin + "D", with == 2 ? "ed-prev-char" : "ed-prev-word");
      bind(begin + "H", "ed-move-to-beg");
      bind(begin + "F", "ed-move-to-end");
      bind("\\e[3;" + std::to_string(with) + "~", "ed-delete-next-char");
    }
  }

  unsigned char on_cancel() {
    cancelled_ = true;
    std::fputs("^C\r\n", stdout);
    std::fflush(stdout);
    return CC_NEWLINE;
  }

  unsigned char on_tab() {
    const auto* line = el_line(editor_);
    std::string_view before{line->buffer, static_cast<std::size_t>(line->cursor - line->buffer)};
    if (before.find_first_not_of(" \t") == std::string_view::npos && !before.empty()) {
      // Pasted text that is indented with tabs is no wish to complete.
      el_insertstr(editor_, "  ");
      return CC_REFRESH;
    }
    auto found = complete_(before);
    auto typed = before.size() - found.begin;
    if (found.candidates.empty())
      return CC_ERROR;
    auto common = found.common();
    auto whole = found.candidates.size() == 1;
    auto more = common.substr(std::min(typed, common.size()));
    if (whole && !common.ends_with('/'))
      more += ' ';
    if (!more.empty()) {
      el_insertstr(editor_, more.c_str());
      return CC_REFRESH;
    }
    std::string list = "\r\n";
    for (auto& one : found.candidates)
      list += one + "  ";
    list += "\r\n";
    std::fputs(list.c_str(), stdout);
    std::fflush(stdout);
    return CC_REDISPLAY;
  }

  completer complete_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  bool cancelled_ = false;
};

} // namespace

std::unique_ptr<line_editor> make_line_editor(std::string_view terminal, const std::vector<std::string>& history,
                                              completer complete) {
  if (terminal.empty() || terminal == "dumb")
    return std::make_unique<plain_editor>();
  // Widths of characters follow the locale, and an ssh session or a container may have "C".
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1)
    std::setlocale(LC_CTYPE, "C.UTF-8");
  return std::make_unique<libedit_editor>(history, std::move(complete));
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupts = 1; };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

bool interrupt_pending() {
  return interrupts != 0;
}

void forget_interrupt() {
  interrupts = 0;
}

} // namespace astra::shell
