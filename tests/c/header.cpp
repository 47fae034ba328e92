// The header as C++17 sees it: twice, alone, with C linkage.
#include <neurohttp.h>
#include <neurohttp.h>

#include <cstring>
#include <type_traits>

static_assert(std::is_same<nh_status, std::int32_t>::value, "statuses are plain integers");
static_assert(std::is_standard_layout<nh_server_options>::value, "options are plain data");
static_assert(NH_ZERO_TERMINATED == SIZE_MAX, "the mark for strlen");

extern "C" nh_status (*const route_handler)(nh_request *, nh_response *, void *) = nullptr;

int main()
{
    nh_server_options options;
    nh_server *server = nullptr;
    nh_handler handler = route_handler;

    nh_server_options_init(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    if (nh_server_new(&options, &server) != NH_OK)
        return 1;
    if (nh_server_route(server, "GET", "/", 0, handler, nullptr, nullptr) == NH_OK)
        return 2; // a null handler
    nh_server_free(server);
    return std::strcmp(nh_status_name(NH_ERR_CLOSED), "NH_ERR_CLOSED");
}
