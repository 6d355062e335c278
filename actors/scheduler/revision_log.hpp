#pragma once

#include "actors/platform.hpp"
#include "messages/wire/control.pb.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace astra {

/// The specs and revisions of an app store, in memory: for platforms without a disk.  Keeps what the one on disk keeps.
class revision_log {
public:
  /// By name.
  const std::map<std::string, pb::AppSpec>& specs() const { return specs_; }

  std::uint64_t save(const pb::AppSpec& spec, const change_note& note);
  void remove(const std::string& name);
  std::vector<pb::AppRevision> history(const std::string& name) const;

private:
  std::map<std::string, pb::AppSpec> specs_;
  std::map<std::string, std::vector<pb::AppRevision>> revisions_;
};

} // namespace astra
