#include "runtime/sim/log_capture.hpp"

#include "runtime/sim/engine.hpp"

#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <string_view>

namespace astra::sim {
namespace {

class engine_sink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
protected:
  void sink_it_(const spdlog::details::log_msg& line) override {
    if (auto run = engine::present())
      run->log_line(std::string_view{line.payload.data(), line.payload.size()});
  }
  void flush_() override {}
};

} // namespace

log_capture::log_capture(bool debug) : before_(spdlog::default_logger()) {
  // One logger per level, made once: runs are short, and there are millions of them.
  static auto usual = std::make_shared<spdlog::logger>("astra", std::make_shared<engine_sink>());
  static auto chatty = [] {
    auto result = std::make_shared<spdlog::logger>("astra", std::make_shared<engine_sink>());
    result->set_level(spdlog::level::debug);
    return result;
  }();
  spdlog::set_default_logger(debug ? chatty : usual);
}

log_capture::~log_capture() {
  spdlog::set_default_logger(before_);
}

} // namespace astra::sim
