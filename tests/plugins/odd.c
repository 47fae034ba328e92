/* Plugins that must be refused, one for each ODD_ macro it is compiled with. */
#include <neurohttp.h>
#include <stddef.h>

static nh_status init(const nh_plugin_host *host, void **state)
{
    (void)state;
    host->plugin_log(host->plugin, NH_LOG_WARN, "init of odd", NH_ZERO_TERMINATED);
#ifdef ODD_INIT
    return NH_ERR_DENIED;
#else
    return NH_OK;
#endif
}

struct longer {
    nh_plugin plugin;
    unsigned long beyond;
};

const nh_plugin *nh_plugin_entry(const nh_plugin_host *host);
const nh_plugin *nh_plugin_entry(const nh_plugin_host *host)
{
    static struct longer odd = {
        .plugin = {.struct_size = sizeof(nh_plugin), .abi = NH_PLUGIN_ABI, .init = init}};

    (void)host;
#if defined ODD_NULL
    return NULL;
#elif defined ODD_ABI
    odd.plugin.abi = NH_PLUGIN_ABI + 1;
#elif defined ODD_SIZE
    odd.plugin.struct_size = 4;
#elif defined ODD_SHORT
    odd.plugin.struct_size = 12; /* all that is left is the contract's number: it does nothing */
#elif defined ODD_BEYOND
    odd.plugin.struct_size = sizeof odd;
    odd.beyond = 1;
#elif defined ODD_FLAGS
    odd.plugin.flags = 0x80;
#elif defined ODD_NAME
    odd.plugin.name = "not a name";
#endif
    return &odd.plugin;
}
