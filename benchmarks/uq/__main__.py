from benchmarks.uq.experiment import main

if __name__ == "__main__":  # workers import this file
    main()
