/* Being told when memory runs short, without looking (Linux: Documentation/accounting/psi.rst). */
#ifndef OS_PRESSURE_H
#define OS_PRESSURE_H

/* A descriptor that becomes readable out of band (POLLPRI) when tasks of this machine have waited for memory
 * for a tenth of two seconds, at most once in that time; or -1: the system does not tell, or not us. The
 * caller closes it. */
int pressure_watch(void);

#endif
