/* A module for real servers: it answers every cluster message of type 1, to its sender as type 2 and to everybody as
 * type 3. Declares for itself the few functions of the module API it uses, so that no header is needed. */

#include <stdint.h>
#include <string.h>

#define NAME "echo-test"
#define API_VERSION 1
#define NODE_ID_LEN 40

typedef struct Context Context;
typedef void Receiver(Context *, const char *sender, uint8_t type, const unsigned char *data, uint32_t len);

static int (*find_function)(const char *name, void *function);
static void (*set_attributes)(Context *, const char *name, int version, int api_version);
static void (*receive_messages)(Context *, uint8_t type, Receiver *);
static int (*send_message)(Context *, const char *target, uint8_t type, const char *data, uint32_t len);

static void answer(Context *context, const char *sender, uint8_t type, const unsigned char *data, uint32_t len) {
    char target[NODE_ID_LEN + 1] = {0};
    memcpy(target, sender, NODE_ID_LEN);
    send_message(context, target, (uint8_t)(type + 1), (const char *)data, len);
    send_message(context, NULL, (uint8_t)(type + 2), (const char *)data, len);
}

int RedisModule_OnLoad(Context *context, void **arguments, int count) {
    (void)arguments;
    (void)count;
    find_function = (int (*)(const char *, void *))(((void **)context)[0]);
    if (find_function("RedisModule_SetModuleAttribs", &set_attributes) ||
        find_function("RedisModule_RegisterClusterMessageReceiver", &receive_messages) ||
        find_function("RedisModule_SendClusterMessage", &send_message)) {
        return 1;
    }
    set_attributes(context, NAME, 1, API_VERSION);
    receive_messages(context, 1, answer);
    return 0;
}
