// A JSON text as a tree of values, for files that the tests trust.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

/// A value: of its members only those of its own kind are filled in.
struct JsonValue {
  double number = 0.0;  // also of true and false
  std::string text;
  std::vector<JsonValue> elements;
  std::map<std::string, JsonValue> members;

  /// Throws std::runtime_error unless the text is one value (escapes but \" \\ \/ are not understood).
  static JsonValue parse(const std::string& json) {
    Reader reader{json.c_str()};
    const JsonValue value = reader.value();
    reader.space();
    if (*reader.at != '\0') reader.fail("nothing more");
    return value;
  }

  bool has(const std::string& key) const { return members.count(key) == 1; }
  /// Throws std::out_of_range if there is none.
  const JsonValue& operator[](const std::string& key) const { return members.at(key); }

 private:
  struct Reader {
    const char* at;

    [[noreturn]] void fail(const char* expected) const {
      throw std::runtime_error("JSON: expected " + std::string(expected) + " at: " + std::string(at).substr(0, 40));
    }
    void space() {
      while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') ++at;
    }
    bool accept(char character) {
      space();
      if (*at != character) return false;
      ++at;
      return true;
    }
    void expect(char character, const char* what) {
      if (!accept(character)) fail(what);
    }
    bool accept_word(const char* word) {
      if (std::strncmp(at, word, std::strlen(word)) != 0) return false;
      at += std::strlen(word);
      return true;
    }

    std::string string() {
      expect('"', "a string");
      std::string text;
      for (; *at != '"'; ++at) {
        if (*at == '\\') ++at;
        if (*at == '\0') fail("a closing quote");
        text += *at;
      }
      ++at;
      return text;
    }

    JsonValue value() {
      JsonValue value;
      space();
      if (*at == '"') {
        value.text = string();
      } else if (accept('{')) {
        while (!accept('}')) {
          if (!value.members.empty()) expect(',', "','");
          const std::string key = string();
          expect(':', "':'");
          value.members[key] = this->value();
        }
      } else if (accept('[')) {
        while (!accept(']')) {
          if (!value.elements.empty()) expect(',', "','");
          value.elements.push_back(this->value());
        }
      } else if (accept_word("true")) {
        value.number = 1.0;
      } else if (!accept_word("false") && !accept_word("null")) {
        char* end = nullptr;
        value.number = std::strtod(at, &end);
        if (end == at) fail("a value");
        at = end;
      }
      return value;
    }
  };
};
