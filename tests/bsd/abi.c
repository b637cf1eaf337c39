/*
 * Holds the numbers that ftpgate uses against the headers of FreeBSD and OpenBSD. Compiled, never run, by .ci/bsd-check.
 * layout.h comes from the Rust source. With -DBREAK every assertion of this file is about another number, and has to fail.
 */
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/sockio.h>
#include <sys/ioctl.h>
#include <netinet/in.h>
#include <net/if.h>
#include <net/pfvar.h>
#include <stddef.h>

#include "layout.h"

#ifdef BREAK
#define WRONG 1
#else
#define WRONG 0
#endif

#define SAME(ours, theirs) _Static_assert((ours) + WRONG == (theirs), #ours " is not " #theirs)
#define FIELD(name, NAME) SAME(FTPGATE_NATLOOK_##NAME, offsetof(struct pfioc_natlook, name))

SAME(FTPGATE_NATLOOK_SIZE, sizeof(struct pfioc_natlook));
SAME(FTPGATE_NATLOOK_REQUEST, DIOCNATLOOK);
FIELD(saddr, SADDR);
FIELD(daddr, DADDR);
FIELD(rsaddr, RSADDR);
FIELD(rdaddr, RDADDR);
FIELD(sport, SPORT);
FIELD(dport, DPORT);
FIELD(rsport, RSPORT);
FIELD(rdport, RDPORT);
FIELD(af, AF);
FIELD(proto, PROTO);
FIELD(direction, DIRECTION);
SAME(16, sizeof(((struct pfioc_natlook *)0)->saddr));
SAME(2, sizeof(((struct pfioc_natlook *)0)->sport));
SAME(1, sizeof(((struct pfioc_natlook *)0)->af));
SAME(1, sizeof(((struct pfioc_natlook *)0)->direction));

SAME(FTPGATE_PF_OUT, PF_OUT);
SAME(FTPGATE_AF_INET, AF_INET);
SAME(FTPGATE_AF_INET6, AF_INET6);
SAME(FTPGATE_SIOCATMARK, SIOCATMARK);

#ifdef __FreeBSD__
SAME(FTPGATE_IP_BINDANY, IP_BINDANY);
SAME(FTPGATE_IPV6_BINDANY, IPV6_BINDANY);
#endif

#ifdef __OpenBSD__
FIELD(rdomain, RDOMAIN);
FIELD(rrdomain, RRDOMAIN);
SAME(FTPGATE_SO_BINDANY, SO_BINDANY);
#endif
