"""Processes of a supervisor: forked, fed, limited, ended."""
