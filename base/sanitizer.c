/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the programs run when they are built with the address sanitizer (-Db_sanitize): roles are
 * started with an empty environment, so the choice stands in the program. A finding ends the
 * process. The search for leaks at the end traces the process from another one, which no confined
 * role may be subject to: the unit tests search instead. Not part of a normal build.
 */

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *
__asan_default_options(void)
{
	return "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1:"
	       "allocator_may_return_null=1:use_sigaltstack=0:handle_segv=0:"
	       "abort_on_error=1";
}

const char *
__ubsan_default_options(void)
{
	return "halt_on_error=1:print_stacktrace=1:abort_on_error=1";
}
