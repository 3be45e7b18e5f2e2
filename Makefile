PYTHON ?= python3

.PHONY: demo test clean

demo:
	$(PYTHON) dev.py demo

test:
	$(PYTHON) dev.py test

clean:
	$(PYTHON) dev.py clean
