#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "bindings.h"

// The keyword arguments of a compiled function as one list: their names, and the members of its
// params struct that they fill. The list parses calls and yields the signature, which is the
// docstring, from which digan_fast/_C.pyi is generated.

namespace digan_fast {

template <class Params>
struct Field {
    std::string name;
    std::string type;  // as Python writes it
    bool is_address;   // read after the extents are checked, if there is work to do
    std::function<void(Params&, py::handle)> fill;
    PyObject* key = PyUnicode_InternFromString(name.c_str());  // for as long as the process lives
};

template <class Params>
using Fields = std::vector<Field<Params>>;

// Refuses bad extents and options; false: there is nothing to do, and no address is read.
template <class Params>
using Check = std::function<bool(const Params&)>;

// Whether the tensor may be omitted, by the address 0.
enum class Null { refused, left_out };

// Addresses and enums are passed as integers.
template <class T>
std::string python_type() {
    if (std::is_same_v<T, bool>) return "bool";
    if (std::is_same_v<T, std::string>) return "str";
    if (std::is_floating_point_v<T>) return "float";
    return std::is_void_v<T> ? "None" : "int";
}

template <class T>
T from_python(const std::string& name, py::handle value,
              const std::string& type = python_type<T>()) {
    try {
        return py::cast<T>(value);
    } catch (const py::cast_error&) {
        throw py::type_error(name + " is " + std::string(py::repr(value)) + ", expected " + type);
    }
}

inline std::uintptr_t number_size(Number number) { return number == Number::float32 ? 4 : 2; }

// Bytes per element at an address of type T; void* means elements of type params.number.
template <class T, class Params>
std::uintptr_t element_size(const Params& params) {
    if constexpr (!std::is_void_v<std::remove_pointer_t<T>>)
        return sizeof(std::remove_pointer_t<T>);
    else if constexpr (requires { params.number; })
        return number_size(params.number);
    else
        return element_size<T>(params.forward);
}

// An argument named after the member that it fills; void* means elements of type params.*number if
// it is given.
template <class T, class Params>
Field<Params> field(const std::string& name, T Params::* member, Null null = Null::refused,
                    Number Params::* number = nullptr) {
    if constexpr (std::is_pointer_v<T>) {
        const auto fill = [=](Params& params, py::handle value) {
            const auto address = from_python<std::uintptr_t>(name, value);
            require(address != 0 || null == Null::left_out, name, "null", "the address of data");
            const std::uintptr_t size =
                number ? number_size(params.*number) : element_size<T>(params);
            require(address % size == 0, name, std::to_string(address),
                    size == 4 ? "a multiple of 4" : "a multiple of 2");
            params.*member = reinterpret_cast<T>(address);
        };
        return {name, python_type<T>(), true, fill};
    } else {
        using Passed = typename std::conditional_t<std::is_enum_v<T>, std::underlying_type<T>,
                                                   std::type_identity<T>>::type;
        const auto fill = [=](Params& params, py::handle value) {
            params.*member = static_cast<T>(from_python<Passed>(name, value));
        };
        return {name, python_type<T>(), false, fill};
    }
}

// The arguments of a member of Params.
template <class Part, class Params>
Fields<Params> within(Part Params::* part, const Fields<Part>& fields) {
    Fields<Params> lifted;
    for (const Field<Part>& each : fields) {
        const auto fill = [part, each](Params& params, py::handle value) {
            each.fill(params.*part, value);
        };
        lifted.push_back({each.name, each.type, each.is_address, fill});
    }
    return lifted;
}

// Structs that Python passes as tuples of their fields.
template <class Params>
std::string tuple_type(const Fields<Params>& fields) {
    std::string text = "tuple[";
    for (const Field<Params>& each : fields)
        text += (&each == &fields.front() ? "" : ", ") + each.type;
    return text + "]";
}

template <class Params>
Params from_tuple(const std::string& name, py::handle value, const Fields<Params>& fields) {
    const auto items = from_python<py::tuple>(name, value, tuple_type(fields));
    if (items.size() != fields.size())
        throw py::type_error(name + " is " + std::string(py::repr(value)) + ", expected " +
                             tuple_type(fields));
    Params params{};
    for (std::size_t i = 0; i < fields.size(); ++i) fields[i].fill(params, items[i]);
    return params;
}

// An argument that is a list of such tuples, each handed to `add` once it is read.
template <class Params, class Part>
Field<Params> list_field(const std::string& name, const Fields<Part>& fields,
                         void (*add)(Params&, const Part&)) {
    const std::string type = "list[" + tuple_type(fields) + "]";
    const auto fill = [=](Params& params, py::handle value) {
        for (const py::object& each : from_python<std::vector<py::object>>(name, value, type))
            add(params, from_tuple(name, each, fields));
    };
    return {name, type, false, fill};
}

template <class Params>
Fields<Params> operator+(Fields<Params> fields, const Fields<Params>& more) {
    fields.insert(fields.end(), more.begin(), more.end());
    return fields;
}

template <class Params>
std::string signature(const std::string& function, const Fields<Params>& fields,
                      const std::string& result) {
    std::string text = function + "(*";
    for (const Field<Params>& each : fields) text += ", " + each.name + ": " + each.type;
    return text + ") -> " + result;
}

// Fills params: first extents and options, then, once checked, addresses. Returns check's result.
template <class Params>
bool read(Params& params, const std::string& function, const Fields<Params>& fields,
          const py::kwargs& arguments, const Check<Params>& check) {
    std::vector<py::handle> values;
    values.reserve(fields.size());
    for (const Field<Params>& each : fields) {
        PyObject* value = PyDict_GetItem(arguments.ptr(), each.key);
        if (!value) throw py::type_error(function + "() lacks the argument " + each.name);
        values.emplace_back(value);
    }
    if (arguments.size() != fields.size())
        throw py::type_error(function + "() has other arguments than " +
                             signature(function, fields, "…"));
    for (const bool addresses : {false, true}) {
        if (addresses && !check(params)) return false;
        for (std::size_t i = 0; i < fields.size(); ++i)
            if (fields[i].is_address == addresses) fields[i].fill(params, values[i]);
    }
    return true;
}

// Defines a function of keyword arguments; `run` is called without the GIL.
template <class Params, class Result>
void define(py::module_& m, const char* name, const Fields<Params>& fields, Check<Params> check,
            std::function<Result(Params&)> run) {
    const auto call = [=, function = std::string(name)](const py::kwargs& arguments) -> Result {
        Params params{};
        const bool work = read(params, function, fields, arguments, check);
        if (!work) return Result();
        const py::gil_scoped_release release;
        return run(params);
    };
    m.def(name, call, signature(name, fields, python_type<Result>()).c_str());
}

}  // namespace digan_fast
