"""Data that each node reads once, in setup, and all its jobs share without another copy.

    python setup_data.py [NODE [OWN_ADDRESS]]
"""
import sys

import dispy


def setup():
    global words                                # each job is forked from the process that has it
    with open('words.txt') as stream:
        words = stream.read().split()
    return 0                                    # anything else: setup failed


def cleanup():
    global words
    del words


def count(letter):
    return sum(word.startswith(letter) for word in words)       # noqa: F821


def main(node='127.0.0.1', own='127.0.0.1'):
    with open('words.txt', 'w') as stream:
        stream.write('apple banana avocado cherry apricot blueberry')
    cluster = dispy.JobCluster(count, nodes=[node], host=own, depends=['words.txt'],
                               setup=setup, cleanup=cleanup)
    jobs = [(letter, cluster.submit(letter)) for letter in 'abc']
    print(', '.join('%s: %s' % (letter, job()) for letter, job in jobs))
    cluster.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
