#pragma once

#include <cstdint>

// What a library of actors and the program that loads it say to each other: plain C, so that both may be built with
// different compilers and standard libraries.  An actor's author includes <astra/actor.hpp> and never sees this.
//
// A library has one entry, `astra_actor_library`.  Its answer begins with the version of everything below: a program
// reads nothing else of a library of another version.  Texts are UTF-8 without a zero at their end and belong to who
// gives them; they are valid until the call returns.  Calls for one actor come one after the other, maybe from
// different threads.

extern "C" {

/// Grows with every change of what is below.
inline constexpr std::uint32_t astra_actor_abi = 1;

struct astra_bytes {
  const char* data;
  std::uint64_t size;
};

/// Takes a text; called at most once.
struct astra_text_sink {
  void* to;
  void (*take)(void* to, astra_bytes text);
};

/// What an actor may ask of the world.
struct astra_actor_host {
  void* self;
  /// Nanoseconds since the actor began, in the time of its world, which may be simulated.
  std::int64_t (*now_ns)(void* self);
  /// 64 random bits; the same ones in the same simulation.
  std::uint64_t (*random)(void* self);
  /// One line for the log.
  void (*log)(void* self, astra_bytes line);
};

enum astra_actor_status : std::uint32_t {
  ASTRA_ACTOR_OK = 0,
  /// The message is not one of the actor's, or its fields are wrong: who sent it is to blame.
  ASTRA_ACTOR_INVALID = 1,
  /// The actor refused it.
  ASTRA_ACTOR_REFUSED = 2,
  /// The actor failed in a way that it did not foresee.
  ASTRA_ACTOR_BROKEN = 3,
};

struct astra_actor_answer {
  std::uint32_t status;
  /// 0: `body` is JSON; 1: a text.  What went wrong is a text in any case.
  std::uint32_t is_text;
  /// Name of the message; empty for a body that is none.
  astra_bytes message;
  astra_bytes body;
};

struct astra_answer_sink {
  void* to;
  void (*take)(void* to, const astra_actor_answer* answer);
};

struct astra_actor_type {
  astra_bytes name;
  astra_bytes doc;
  /// @param arguments A JSON object; its values may be texts, whatever type they are of.
  /// @returns nullptr, after telling why, when the arguments are wrong or the actor does not want to live.
  /// @param host Outlives the actor.
  void* (*create)(const astra_actor_host* host, astra_bytes arguments, astra_text_sink problem);
  void (*destroy)(void* actor);
  /// Answers exactly once, before it returns.
  void (*handle)(void* actor, astra_bytes body, astra_answer_sink answer);
  /// Its schema: name, doc, arguments, messages with their fields.
  /// @param actor nullptr: of an actor that is made for this and has no arguments.
  void (*describe)(void* actor, astra_text_sink json);
  /// What can be seen of its state, an object.
  void (*state)(void* actor, astra_text_sink json);
};

struct astra_actor_list {
  /// astra_actor_abi of the library.
  std::uint32_t abi;
  std::uint32_t reserved;
  /// Release of Astra whose header it was built with, such as "0.1.0"; in every version of this.
  astra_bytes release;
  std::uint64_t count;
  const astra_actor_type* types;
};

/// The entry of a library.
using astra_actor_entry = const astra_actor_list* (*)();

} // extern "C"
