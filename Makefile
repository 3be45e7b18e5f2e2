PYTHON ?= python3

.PHONY: demo lint types test test-all clean

demo:
	$(PYTHON) dev.py demo

lint:
	$(PYTHON) dev.py lint

types:
	$(PYTHON) dev.py types

test:
	$(PYTHON) dev.py test

test-all:
	$(PYTHON) dev.py test-all

clean:
	$(PYTHON) dev.py clean
