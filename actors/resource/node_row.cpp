#include "actors/resource/node_row.hpp"

#include "messages/wire.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

bool nothing(const pb::Resources& amounts) {
  return amounts.ByteSizeLong() == 0;
}

pb::NodeProfile shape_of(const pb::NodeProfile& profile) {
  auto result = profile;
  result.clear_node();
  result.clear_incarnation();
  result.clear_version();
  result.clear_name();
  result.clear_address();
  return result;
}

const std::string no_text;

} // namespace

node_shape shape_pool::intern(const pb::NodeProfile& profile) {
  // A replica's token is never used twice: nobody else has this shape.
  if (profile.replicas_size() > 0)
    return std::make_shared<const pb::NodeProfile>(shape_of(profile));
  auto shape = shape_of(profile);
  auto& known = shapes_[encode(shape)];
  if (auto found = known.lock())
    return found;
  auto result = std::make_shared<const pb::NodeProfile>(std::move(shape));
  known = result;
  if (shapes_.size() >= tidy_at_) {
    std::erase_if(shapes_, [](auto& entry) { return entry.second.expired(); });
    tidy_at_ = std::max<std::size_t>(1024, 2 * shapes_.size());
  }
  return result;
}

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
  return reason_ ? *reason_ : no_text;
}

const std::string& node_row::name() const {
  return names_ ? names_->name : no_text;
}

const std::string& node_row::address() const {
  return names_ ? names_->address : no_text;
}

void node_row::set_reason(const std::string& text) {
  if (text.empty())
    reason_.reset();
  else if (!reason_ || *reason_ != text)
    reason_ = std::make_shared<const std::string>(text);
}

void node_row::set_profile(const pb::NodeProfile& profile) {
  set_profile(profile.name(), profile.address(), profile.version(),
              std::make_shared<const pb::NodeProfile>(shape_of(profile)));
}

void node_row::set_profile(const pb::NodeProfile& profile, shape_pool& pool) {
  set_profile(profile.name(), profile.address(), profile.version(), pool.intern(profile));
}

void node_row::set_profile(const std::string& name, const std::string& address, std::uint64_t version,
                           node_shape shape) {
  if (!names_ || names_->name != name || names_->address != address)
    names_ = std::make_shared<const names>(names{name, address});
  profile_version_ = version;
  shape_ = std::move(shape);
}

void node_row::set_profile(const node_row& other) {
  names_ = other.names_;
  profile_version_ = other.profile_version_;
  shape_ = other.shape_;
}

void node_row::clear_profile() {
  names_.reset();
  profile_version_ = 0;
  shape_.reset();
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
  if (!shape_)
    return;
  auto& profile = *row.mutable_profile();
  profile = *shape_;
  profile.set_node(node_);
  profile.set_incarnation(incarnation_);
  profile.set_version(profile_version_);
  profile.set_name(name());
  profile.set_address(address());
}

void node_row::write_profile(pb::NodeRow& row, std::uint32_t shape) const {
  row.set_shape(shape);
  row.set_profile_version(profile_version_);
  row.set_name(name());
  row.set_address(address());
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
