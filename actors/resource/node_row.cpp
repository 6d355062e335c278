#include "actors/resource/node_row.hpp"

namespace astra {
namespace {

bool nothing(const pb::Resources& amounts) {
  return amounts.ByteSizeLong() == 0;
}

} // namespace

node_row::node_row(const pb::NodeRow& row)
  : node_(row.node()), incarnation_(row.incarnation()), home_epoch_(row.home_epoch()), sequence_(row.sequence()),
    liveness_(row.liveness()) {
  set_reason(row.reason());
  if (row.has_profile())
    set_profile(row.profile());
  if (row.has_held())
    set_held(row.held());
}

const std::string& node_row::reason() const {
  static const std::string none;
  return reason_ ? *reason_ : none;
}

void node_row::set_reason(const std::string& text) {
  if (text.empty())
    reason_.reset();
  else if (!reason_ || *reason_ != text)
    reason_ = std::make_shared<const std::string>(text);
}

void node_row::set_held(const pb::Resources& held) {
  has_held_ = true;
  if (nothing(held))
    held_.reset();
  else
    held_ = std::make_shared<const pb::Resources>(held);
}

void node_row::write_state(pb::NodeRow& row) const {
  row.set_node(node_);
  row.set_incarnation(incarnation_);
  row.set_home_epoch(home_epoch_);
  row.set_liveness(liveness_);
  row.set_sequence(sequence_);
  if (reason_)
    row.set_reason(*reason_);
  else
    row.clear_reason();
}

void node_row::write_profile(pb::NodeRow& row) const {
  if (profile_)
    *row.mutable_profile() = *profile_;
}

void node_row::write_held(pb::NodeRow& row) const {
  if (has_held_)
    *row.mutable_held() = held();
}

pb::NodeRow node_row::to_pb() const {
  pb::NodeRow result;
  write_state(result);
  write_profile(result);
  write_held(result);
  return result;
}

} // namespace astra
