#include "actors/scheduler/hazard_meter.hpp"

#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

struct fixture {
  model_view cluster;
  hazard_meter meter;
  hazard_meter::time_point now{};

  fixture() {
    for (int i = 0; i < 8; ++i) {
      auto name = "n" + std::to_string(i);
      auto& row = cluster.rows[name] = make_row(name, 1, 1);
      if (i < 4) {
        auto& label = *row.mutable_profile()->add_labels();
        label.set_key("pool");
        label.set_value("spot");
      }
    }
    tell();
  }

  void tell() {
    cluster.publish(now);
    for (auto& [id, entry] : cluster.view.nodes())
      meter.observe(entry, now);
  }

  void set(const std::string& name, pb::Liveness liveness) {
    cluster.rows[name].set_liveness(liveness);
    tell();
  }

  std::map<std::string, double> rates() {
    return meter.rates(cluster.view.index(), cluster.view.nodes().size(), now).per_hour;
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "losses of the last hour count once each, per node of their pool") {
  CHECK(rates().empty());
  set("n0", pb::LIVENESS_OFFLINE);
  tell();
  CHECK(rates() == std::map<std::string, double>{{"spot", 0.25}});
  set("n0", pb::LIVENESS_ONLINE);
  now += 30min;
  set("n0", pb::LIVENESS_OFFLINE);
  set("n7", pb::LIVENESS_OFFLINE);
  CHECK(rates() == std::map<std::string, double>{{"", 0.25}, {"spot", 0.5}});
  now += 30min;
  CHECK(rates() == std::map<std::string, double>{{"", 0.25}, {"spot", 0.25}});
  now += 30min;
  CHECK(rates().empty());
}

TEST_CASE_FIXTURE(fixture, "a draining or suspect node is not lost") {
  set("n0", pb::LIVENESS_SUSPECT);
  set("n1", pb::LIVENESS_DRAINING);
  CHECK(rates().empty());
}
