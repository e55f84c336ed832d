"""Nodes shared by several clients at a time, by way of dispy's dispyscheduler.py, which must run.

    python shared.py [SCHEDULER [OWN_ADDRESS]]
"""
import sys

import dispy


def square(number):
    return number * number


def main(scheduler='127.0.0.1', own='127.0.0.1'):
    # client_port 0: any port is right, so several clients may run on this host
    cluster = dispy.SharedJobCluster(square, scheduler_host=scheduler, ip_addr=own, client_port=0)
    jobs = [cluster.submit(number) for number in range(10)]
    print([job() for job in jobs])
    cluster.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
