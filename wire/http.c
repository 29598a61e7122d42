/* SPDX-License-Identifier: Apache-2.0 */

/* Methods, reasons and dates of RFC 9110. No locale, no clock, no allocation. */

#include "wire/http.h"

#include <string.h>

static const char *const methods[HTTP_METHODS_] = {
	[HTTP_OTHER] = "OTHER",     [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",
	[HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",         [HTTP_DELETE] = "DELETE",
	[HTTP_CONNECT] = "CONNECT", [HTTP_OPTIONS] = "OPTIONS", [HTTP_TRACE] = "TRACE",
	[HTTP_PATCH] = "PATCH",
};

enum http_method
http_method_of(const char *text, size_t length)
{
	if (length == 3 && memcmp(text, "GET", 3) == 0)
		return HTTP_GET;
	for (int m = HTTP_HEAD; m < HTTP_METHODS_; m++) {
		if (strlen(methods[m]) == length && memcmp(text, methods[m], length) == 0)
			return (enum http_method)m;
	}
	return HTTP_OTHER;
}

const char *
http_method_name(enum http_method method)
{
	return methods[method];
}

bool
http_method_idempotent(enum http_method method)
{
	switch (method) {
	case HTTP_GET:
	case HTTP_HEAD:
	case HTTP_PUT:
	case HTTP_DELETE:
	case HTTP_OPTIONS:
	case HTTP_TRACE:
		return true;
	default:
		return false;
	}
}

const char *
http_reason(unsigned status)
{
	switch (status) {
	case 100:
		return "Continue";
	case 101:
		return "Switching Protocols";
	case 103:
		return "Early Hints";
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 203:
		return "Non-Authoritative Information";
	case 204:
		return "No Content";
	case 205:
		return "Reset Content";
	case 206:
		return "Partial Content";
	case 300:
		return "Multiple Choices";
	case 301:
		return "Moved Permanently";
	case 302:
		return "Found";
	case 303:
		return "See Other";
	case 304:
		return "Not Modified";
	case 307:
		return "Temporary Redirect";
	case 308:
		return "Permanent Redirect";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 402:
		return "Payment Required";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 406:
		return "Not Acceptable";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 410:
		return "Gone";
	case 411:
		return "Length Required";
	case 412:
		return "Precondition Failed";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 415:
		return "Unsupported Media Type";
	case 416:
		return "Range Not Satisfiable";
	case 417:
		return "Expectation Failed";
	case 421:
		return "Misdirected Request";
	case 422:
		return "Unprocessable Content";
	case 425:
		return "Too Early";
	case 426:
		return "Upgrade Required";
	case 428:
		return "Precondition Required";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	case 505:
		return "HTTP Version Not Supported";
	case 507:
		return "Insufficient Storage";
	default:
		return "Unknown";
	}
}

static void
put2(char *out, unsigned v)
{
	out[0] = (char)('0' + v / 10);
	out[1] = (char)('0' + v % 10);
}

void
http_date(int64_t unix_seconds, char out[HTTP_DATE_BYTES])
{
	static const char days[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int64_t s = unix_seconds < 0 ? 0 : unix_seconds;
	uint32_t day = (uint32_t)(s / 86400), rest = (uint32_t)(s % 86400);
	/* Days since 0000-03-01, in eras of 400 years. */
	uint32_t z = day + 719468, era = z / 146097, doe = z % 146097;
	uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint32_t mp = (5 * doy + 2) / 153;
	uint32_t month = mp < 10 ? mp + 3 : mp - 9;
	uint32_t year = yoe + era * 400 + (month <= 2);

	memcpy(out, days + (size_t)(day % 7) * 3, 3);
	memcpy(out + 3, ", ", 2);
	put2(out + 5, doy - (153 * mp + 2) / 5 + 1);
	out[7] = ' ';
	memcpy(out + 8, months + (size_t)(month - 1) * 3, 3);
	out[11] = ' ';
	put2(out + 12, year / 100 % 100);
	put2(out + 14, year % 100);
	out[16] = ' ';
	put2(out + 17, rest / 3600);
	out[19] = ':';
	put2(out + 20, rest / 60 % 60);
	out[22] = ':';
	put2(out + 23, rest % 60);
	memcpy(out + 25, " GMT", 5);
}

const struct http_field *
http_field_find(const struct http_field *fields, size_t count, enum header_id id)
{
	for (size_t i = 0; i < count; i++) {
		if (fields[i].id == id)
			return &fields[i];
	}
	return NULL;
}
