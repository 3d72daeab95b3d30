"""The RESP port, from its bytes to whole clients: more than a dozen modules, since each part of `client_port` has one,
and each way of comparing it with a real server, whose servers its tests share, has one as well."""
