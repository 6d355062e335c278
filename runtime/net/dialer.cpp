#include "runtime/net/dialer.hpp"

#include "config/endpoint.hpp"

#include <caf/response_promise.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <spdlog/spdlog.h>

#include <map>
#include <set>
#include <utility>
#include <vector>

namespace astra {
namespace {

class dialer_state {
public:
  static constexpr const char* name = "astra.dialer";

  dialer_state(dialer_actor::pointer self, caf::actor connector, std::string own_address,
               std::shared_ptr<service_table> own_services, caf::timespan timeout, bool by_service)
    : self_(self), connector_(std::move(connector)), own_address_(std::move(own_address)),
      own_services_(std::move(own_services)), timeout_(timeout), by_service_(by_service) {
    // A directory whose session is gone never answers again: forget it, so that the next dial connects anew, and so do
    // those whose question was under way: when two processes dial each other at once, one of the sessions goes.
    self_->set_down_handler([this](const caf::down_msg& down) {
      std::erase_if(directories_, [&down](auto& entry) { return entry.second.address() == down.source; });
      std::vector<question> lost;
      for (auto entry = questions_.begin(); entry != questions_.end();)
        if (entry->second.asked == down.source) {
          lost.push_back(std::move(entry->second));
          entry = questions_.erase(entry);
        } else {
          ++entry;
        }
      for (auto& again : lost)
        if (again.repeated)
          again.reply.deliver(caf::make_error(errc::unreachable, again.at.first + ": the session has ended"));
        else
          dial_for(again.at, {again.service, std::move(again.reply), true});
    });
  }

  dialer_actor::behavior_type make_behavior() {
    return {
        [this](dial_atom, const std::string& address, const std::string& service) { return dial(address, service); },
    };
  }

private:
  using promise = caf::typed_response_promise<caf::strong_actor_ptr>;

  /// Address and service: a process says itself where it listens, so whoever answers for one service at an address need
  /// not be the one for another.  Without services the latter is empty.
  using place = std::pair<std::string, std::string>;

  struct waiting_dial {
    std::string service;
    promise reply;
    /// The session of an earlier attempt went away under it.
    bool repeated = false;
  };

  struct question {
    place at;
    std::string service;
    promise reply;
    bool repeated = false;
    caf::actor_addr asked;
  };

  caf::result<caf::strong_actor_ptr> dial(const std::string& address, const std::string& service) {
    auto reply = self_->make_response_promise<caf::strong_actor_ptr>();
    if (address == own_address_) {
      auto found = own_services_->find(service);
      if (found)
        reply.deliver(std::move(*found));
      else
        reply.deliver(std::move(found.error()));
      return reply;
    }
    dial_for({address, by_service_ ? service : ""}, {service, reply});
    return reply;
  }

  void dial_for(const place& at, waiting_dial who) {
    if (auto known = directories_.find(at); known != directories_.end()) {
      lookup(known->second, at, std::move(who));
      return;
    }
    auto service = who.service;
    auto& queue = connecting_[at];
    queue.push_back(std::move(who));
    if (queue.size() == 1)
      connect(at, service);
  }

  void connect(const place& at, const std::string& service) {
    auto& address = at.first;
    auto where = parse_endpoint(address);
    if (!where) {
      fail(at, caf::make_error(errc::invalid_argument, address + ": not of the form host:port"));
      return;
    }
    auto done = [this, at](const caf::node_id&, const caf::strong_actor_ptr& directory, const std::set<std::string>&) {
      if (!directory) {
        fail(at, caf::make_error(errc::unreachable, at.first + ": answers, but is no Astra process"));
        return;
      }
      auto handle = caf::actor_cast<directory_actor>(directory);
      if (directories_.emplace(at, handle).second)
        self_->monitor(handle);
      for (auto& waiting : take(at))
        lookup(handle, at, std::move(waiting));
    };
    auto failed = [this, at](const caf::error& reason) {
      auto code = reason == caf::sec::request_timeout ? errc::timed_out : errc::unreachable;
      fail(at, caf::make_error(code, at.first + ": " + error_text(reason)));
    };
    // That connector has deadlines of its own, and a reason when they pass.
    if (by_service_)
      self_->request(connector_, 3 * timeout_, caf::connect_atom_v, where->host, where->port, service)
          .then(done, failed);
    else
      self_->request(connector_, timeout_, caf::connect_atom_v, where->host, where->port).then(done, failed);
  }

  void lookup(const directory_actor& directory, const place& at, waiting_dial who) {
    auto number = ++last_question_;
    auto service = who.service;
    questions_[number] = {at, service, std::move(who.reply), who.repeated, directory.address()};
    self_->request(directory, timeout_, lookup_atom_v, service)
        .then(
            [this, number](const caf::strong_actor_ptr& target) {
              if (auto asked = questions_.extract(number); !asked.empty())
                asked.mapped().reply.deliver(target);
            },
            [this, number](caf::error& reason) {
              auto asked = questions_.extract(number);
              if (asked.empty())
                return;
              auto& about = asked.mapped();
              if (reason == errc::unknown_name) {
                about.reply.deliver(std::move(reason));
                return;
              }
              directories_.erase(about.at);
              auto code = reason == caf::sec::request_timeout ? errc::timed_out : errc::unreachable;
              about.reply.deliver(caf::make_error(code, about.at.first + ": " + error_text(reason)));
            });
  }

  void fail(const place& at, const caf::error& reason) {
    spdlog::debug("net.dial_failed address={} reason=\"{}\"", at.first, error_text(reason));
    for (auto& waiting : take(at))
      waiting.reply.deliver(reason);
  }

  std::vector<waiting_dial> take(const place& at) {
    auto node = connecting_.extract(at);
    return node.empty() ? std::vector<waiting_dial>{} : std::move(node.mapped());
  }

  dialer_actor::pointer self_;
  caf::actor connector_;
  std::string own_address_;
  std::shared_ptr<service_table> own_services_;
  caf::timespan timeout_;
  bool by_service_;
  std::map<place, directory_actor> directories_;
  std::map<place, std::vector<waiting_dial>> connecting_;
  std::map<std::uint64_t, question> questions_;
  std::uint64_t last_question_ = 0;
};

} // namespace

dialer_actor spawn_dialer(caf::actor_system& sys, caf::actor connector, std::string own_address,
                          std::shared_ptr<service_table> own_services, caf::timespan timeout) {
  return sys.spawn<dialer_actor::stateful_impl<dialer_state>>(std::move(connector), std::move(own_address),
                                                              std::move(own_services), timeout, true);
}

dialer_actor spawn_dialer_over_middleman(caf::actor_system& sys, caf::actor middleman, std::string own_address,
                                         std::shared_ptr<service_table> own_services, caf::timespan timeout) {
  return sys.spawn<dialer_actor::stateful_impl<dialer_state>>(std::move(middleman), std::move(own_address),
                                                              std::move(own_services), timeout, false);
}

} // namespace astra
