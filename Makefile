PYTHON ?= python3

.PHONY: demo test test-all clean

demo:
	$(PYTHON) dev.py demo

test:
	$(PYTHON) dev.py test

test-all:
	$(PYTHON) dev.py test-all

clean:
	$(PYTHON) dev.py clean
