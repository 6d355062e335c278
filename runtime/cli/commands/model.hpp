#pragma once

#include "runtime/cli/commands/commands.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra {

extern const command_text model_text, model_publish_text, model_list_text, model_show_text, model_fetch_text,
    model_verify_text, model_rm_text, model_pin_text, model_unpin_text, model_limit_text, model_nodes_text;
struct model_options {
  /// "name" or "name@version".
  std::string name;
  /// What is to be published.
  std::string path;
  /// Who is to publish it; empty: a node on this machine.
  std::string node;
  /// URL of where it is, too; empty: nowhere.
  std::string origin;
  /// Empty: as the command says by itself.
  std::vector<std::string> nodes;
  std::optional<std::uint32_t> count;
  bool all = false;
  bool pin = false;
  /// Empty: as usual.
  std::string priority;
  bool no_wait = false;
  /// Bytes per second, 0 for none; unset: show it.
  std::optional<std::uint64_t> limit;
};
int publish_model(command_context& context, const model_options& options);
int list_models(command_context& context, const list_options& options);
const listing& model_listing();
int show_model(command_context& context, const std::string& name);
int fetch_model(command_context& context, const model_options& options);
int verify_model(command_context& context, const model_options& options);
int remove_model(command_context& context, const std::string& name);
int pin_model(command_context& context, const model_options& options, bool pinned);
int list_model_nodes(command_context& context, const list_options& options);
const listing& model_node_listing();
int limit_models(command_context& context, const model_options& options);
std::string render_models(const json& answer, bool colour);
std::string render_model(const json& answer, bool colour);
std::string render_model_removal(const json& answer, bool colour);
std::string render_model_nodes(const json& answer, bool colour);
std::string render_model_limit(const json& answer, bool colour);

} // namespace astra
